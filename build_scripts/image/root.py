"""The root file system: locked Debian packages, the product, units, and what a flavour adds.

Packages are installed once for each lock file and kept as an archive; the rest takes seconds.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from build_scripts import debian, tools
from build_scripts.boards import Board, Flavour
from build_scripts.errors import BuildError
from build_scripts.image import product
from build_scripts.keys import Keys

HERE = Path(__file__).parent
UNITS = HERE.parent / "units"
SYSTEM = Path("usr/lib/systemd/system")
_LEFT_OUT = ("man", "doc", "locale", "info", "lintian", "bug")
_REMOVED = (
    *("var/cache/*", "var/lib/apt", "var/log/*", "var/lib/dpkg/*-old", "boot/*"),
    *("usr/lib/udev/hwdb.d/*", "usr/lib/udev/hwdb.bin", "usr/lib/systemd/catalog"),
    *("etc/machine-id", "var/lib/dbus/machine-id", "etc/*-"),
)
_ENABLED = (
    *("systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service"),
    *("systemd-time-wait-sync.service", "flow-setup.service", "flow-supervisor.service"),
    "flow-commit.service",
)
_MASKED = (
    *("systemd-networkd-wait-online.service", "systemd-machine-id-commit.service"),
    *("systemd-random-seed.service", "systemd-firstboot.service", "systemd-pstore.service"),
    *("systemd-update-utmp.service", "systemd-remount-fs.service", "swap.target"),
    *("systemd-hwdb-update.service", "dpkg-db-backup.timer", "apt-daily.timer"),
    *("apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
    "getty@tty1.service",
    *("proc-sys-fs-binfmt_misc.automount", "systemd-networkd-varlink.socket"),
    # Nothing uses them, and each of them costs a slow board a second of its start.
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount"),
    *("sys-fs-fuse-connections.mount", "dev-hugepages.mount", "modprobe@.service"),
    *("systemd-logind.service", "systemd-user-sessions.service", "getty-static.service"),
    *("systemd-journal-catalog-update.service", "systemd-update-done.service", "ldconfig.service"),
    *("systemd-networkd-persistent-storage.service", "systemd-network-generator.service"),
)
NO_LOGIN = (
    *("getty.target", "getty@.service", "serial-getty@.service", "console-getty.service"),
    *("autovt@.service", "container-getty@.service", "debug-shell.service"),
    *("emergency.service", "rescue.service", "systemd-ask-password-console.path"),
    "systemd-ask-password-wall.path",
)


_RECIPE = (
    *("--mode=root", "--variant=essential", "--format=tar"),
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
    # What differs from build to build: the repository's place on this machine, and byte code that
    # stands there in one form or another, by whoever imported it first while packages were set up.
    '--customize-hook=rm -r "$1"/etc/apt/sources.list "$1"/usr/share/python3/debpython/__pycache__',
)


def base(board: Board, cache: Path) -> Path:
    """The archive of the installed packages; made when there is none for this lock and recipe.

    Two runs give the same bytes.

    Raises:
        BuildError: this user may not, a tool is missing, or a package cannot be had.
    """
    locked = debian.Lock.load(debian.lock_path(board.architecture))
    recipe = hashlib.sha256("\n".join((locked.digest, *_RECIPE)).encode()).hexdigest()
    archive = cache / f"root-{board.architecture}-{recipe[:16]}.tar"
    debian.fetch(locked, cache / "debs")
    if archive.exists():
        return archive
    tools.require("mmdebstrap")
    if os.geteuid():
        raise BuildError("an image is built as root", remedy="run it as root, or in a container")
    _need_emulation(board)
    repository = cache / f"repository-{locked.digest[:16]}"
    debian.index(locked, cache / "debs", repository)
    names = [package.name for package in locked.packages if not package.unpacked]
    draft = archive.with_name(f"{archive.stem}.new.tar")
    tools.run(
        [
            *("mmdebstrap", *_RECIPE),
            f"--architectures={board.architecture}",
            f"--include={','.join(names)}",
            *("trixie", draft, f"deb [trusted=yes] copy://{repository.absolute()} ./"),
        ]
    )
    shutil.rmtree(repository)
    draft.replace(archive)
    return archive


def _need_emulation(board: Board) -> None:
    if board.machine == os.uname().machine:
        return
    tools.require("qemu-aarch64-static")
    if not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        raise BuildError(
            "this kernel does not start programs of the board's architecture",
            remedy="mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; "
            "update-binfmts --enable qemu-aarch64",
        )


def build(
    board: Board,
    flavour: Flavour,
    keys: Keys,
    *,
    archive: Path,
    kernel: Path,
    root: Path,
    cache: Path,
) -> None:
    """Make the root file system in an empty folder.

    Args:
        archive: of `base`.
        kernel: the unpacked kernel package.
    """
    root.mkdir()
    tools.run(["tar", "-C", root, "--numeric-owner", "-xpf", archive])
    for pattern in _REMOVED:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    _lay(HERE / "overlay" / "common", root)
    if flavour == "rig":
        _lay(HERE / "overlay" / "rig", root)
        (root / "media" / "scene").mkdir()
    (root / "etc" / "machine-id").touch()
    names = root / "etc" / "resolv.conf"
    names.unlink(missing_ok=True)
    names.symlink_to("/run/systemd/resolve/resolv.conf")
    _update_settings(board, keys, root)
    for unit in sorted(UNITS.iterdir()):
        shutil.copyfile(unit, root / SYSTEM / unit.name)
    copy_modules(kernel, root, (*board.boot_modules, *board.modules))
    product.install(board.machine, root, cache)
    tools.run(["systemd-sysusers", f"--root={root}"])
    shadow = root / "etc" / "shadow"  # the day of a password's change, though there is none
    days = str(tools.EPOCH // 86_400)
    shadow.write_text(
        re.sub(r"^([^:]*:[^:]*):\d*:", rf"\1:{days}:", shadow.read_text(), flags=re.MULTILINE)
    )
    control = ("systemctl", f"--root={root}", "--quiet")
    extra = () if flavour == "production" else ("media-scene.mount",)
    tools.run([*control, "enable", *_ENABLED, *extra])
    tools.run([*control, "set-default", "multi-user.target"])
    for unit in (*_MASKED, *(NO_LOGIN if flavour == "production" else ())):
        link = root / "etc" / "systemd" / "system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    compile_modules(board, root)


def _update_settings(board: Board, keys: Keys, root: Path) -> None:
    """What RAUC checks bundles by, and who is asked which slot starts."""
    folder = root / "etc" / "rauc"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(keys.update_ca, folder / "keyring.pem")
    (root / "etc" / "flow-sensor" / "release.pub").write_text(keys.public())
    slots = "".join(
        f"\n[slot.rootfs.{number}]\ndevice=/dev/disk/by-partlabel/root_{name}\ntype=raw\n"
        f"bootname={name}\n"
        for number, name in enumerate("ab")
    )
    (folder / "system.conf").write_text(
        f"[system]\ncompatible={board.compatible}\nbootloader=custom\n"
        "statusfile=/run/rauc.status\nmountprefix=/run/rauc\nbundle-formats=verity\n"
        "activate-installed=true\n\n[handlers]\nbootloader-custom-backend="
        f"/opt/flow-sensor/libexec/rauc-slots\n\n[keyring]\npath=keyring.pem\n{slots}"
    )


def copy_modules(kernel: Path, root: Path, names: tuple[str, ...]) -> None:
    """The named kernel modules with what they depend on, and nothing else."""
    modules = next((kernel / "usr" / "lib" / "modules").iterdir())
    target = root / "usr" / "lib" / "modules" / modules.name
    for path in closure(modules, names):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(modules / path, target / path)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copyfile(modules / name, target / name)
    tools.run(["depmod", "-b", root, modules.name])


def closure(modules: Path, names: tuple[str, ...]) -> list[str]:
    """Paths of the named modules below a kernel's folder, what each needs before it.

    A name that is built into the kernel, or that this kernel does not know, is left out.
    """
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    known = {_name(path): path for path in needs}
    order: list[str] = []

    def add(path: str) -> None:
        for each in needs[path]:
            add(each)
        if path not in order:
            order.append(path)

    for name in names:
        if name.replace("-", "_") in known:
            add(known[name.replace("-", "_")])
    return order


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def compile_modules(board: Board, root: Path) -> None:
    """Byte code beside the sources, by the device's own interpreter: the root is read-only."""
    packages = f"/{product.PLACE}/lib/python{product.PYTHON}"
    command = ["/usr/bin/python3", "-I", "-m", "compileall", "-q", "-f", packages]
    tools.run(["chroot", root, *command, "--invalidation-mode=unchecked-hash"])


def _lay(overlay: Path, root: Path) -> None:
    for source in sorted(overlay.rglob("*")):
        target = root / source.relative_to(overlay)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
