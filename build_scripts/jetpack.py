"""The overlay for a JetPack root file system: the product, its units, and what they take away.

NVIDIA's kernel, boot chain, CUDA and TensorRT stay as they are: the overlay is laid over
`Linux_for_Tegra/rootfs` before it is flashed. Nothing of the device's architecture runs meanwhile.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from build_scripts import device_bundle, tools
from build_scripts.boards import Flavour
from build_scripts.image import product
from build_scripts.image import root as roots
from firmware import __version__

_APPLY = Path(__file__).parent / "apply.sh"
_UNITS = ("setup", "supervisor", "vision", "vision@", "uplink", "uplink@")
_COMMON = (
    *("etc/flow-sensor/sensor.toml", "etc/sysctl.d/90-flow.conf"),
    *(f"etc/systemd/{name}.conf.d/10-flow.conf" for name in ("journald", "coredump", "system")),
    *("usr/lib/sysusers.d/flow-sensor.conf", "opt/flow-sensor/bin/flow-sensor"),
    "opt/flow-sensor/libexec/setup",
)
_ENABLED = {
    "flow-setup.service": "multi-user.target.wants",
    "flow-supervisor.service": "multi-user.target.wants",
    "var-lib-flow\\x2dsensor.mount": "flow-setup.service.requires",
    "systemd-time-wait-sync.service": "sysinit.target.wants",
}
_MASKED = (
    *("nvzramconfig.service", "swap.target"),  # no swap, not even a compressed one
    *("ssh.service", "ssh.socket", "avahi-daemon.service", "avahi-daemon.socket"),
    *("rpcbind.service", "rpcbind.socket", "cups.service", "cups.socket", "cups-browsed.service"),
    *("nv-l4t-usb-device-mode.service", "nv-l4t-usb-device-mode-runtime.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"),
)
"""What would keep memory, listen, or change the system: of the sample root file system."""
_NO_LOGIN = ("nvgetty.service", "gdm.service", "gdm3.service", "display-manager.service")


def build(python: str, flavour: Flavour, cache: Path, out: Path) -> Path:
    """Write `flow-sensor-<version>-jetpack-<flavour>-py<python>.tar.gz` into a folder.

    Args:
        python: JetPack's: `3.10` of JetPack 6, `3.12` of JetPack 7.

    Raises:
        BuildError: a package has no wheel for that Python, or the models were not built.
    """
    name = f"flow-sensor-{__version__}-jetpack-{flavour}-py{python}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flow-jetpack-") as scratch:
        folder = Path(scratch) / name
        root = folder / "rootfs"
        root.mkdir(parents=True)
        with tools.step("product", f"for Python {python} on aarch64"):
            product.install("aarch64", root, cache, python)
        with tools.step("system", "units, settings, what is switched off"):
            _system(root, flavour)
        shutil.copyfile(_APPLY, folder / "apply.sh")
        (folder / "SHA256SUMS").write_text("".join(_sums(folder)))
        with tools.step("archive", name):
            target = out / f"{name}.tar.gz"
            target.write_bytes(device_bundle.pack(folder))
    return target


def _system(root: Path, flavour: Flavour) -> None:
    for path in _COMMON:
        _put(roots.HERE / "overlay" / "common" / path, root / path)
    overlay = roots.HERE / "overlay" / "jetpack"
    for source in sorted(path for path in overlay.rglob("*") if path.is_file()):
        _put(source, root / source.relative_to(overlay))
    for unit in sorted(roots.UNITS.iterdir()):
        if unit.stem.removeprefix("flow-") in _UNITS:
            _put(unit, root / roots.SYSTEM / unit.name)
    supervisor = root / roots.SYSTEM / "flow-supervisor.service"
    # Updates come as new root file systems by NVIDIA's own way: there is no slot of ours.
    supervisor.write_text(supervisor.read_text().replace(" flow-update.socket", ""))
    system = root / "etc" / "systemd" / "system"
    for name, target in _ENABLED.items():
        (system / target).mkdir(exist_ok=True)
        place = "/etc/systemd/system" if name.endswith(".mount") else f"/{roots.SYSTEM}"
        (system / target / name).symlink_to(f"{place}/{name}")
    (system / "default.target").symlink_to(f"/{roots.SYSTEM}/multi-user.target")
    closed = (*roots.NO_LOGIN, *_NO_LOGIN) if flavour == "production" else ()
    for name in (*_MASKED, *closed):
        (system / name).symlink_to("/dev/null")


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _sums(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
