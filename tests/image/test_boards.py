"""What is made for real boards: a Raspberry Pi's boot partition, and the overlay for JetPack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from build_scripts import boards, jetpack, tools
from build_scripts.errors import BuildError
from build_scripts.image import disk, product, raspberry_pi
from tests.image.test_exposure import NEWER

PI = boards.board("raspberry-pi", "arm64")


# ---- Raspberry Pi --------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path: Path) -> tuple[Path, Path]:
    """Kernel and firmware as their packages lay them down, with other content."""
    kernel, firmware = tmp_path / "kernel", tmp_path / "firmware"
    trees = kernel / "usr" / "lib" / "linux-image-6.12-arm64" / "broadcom"
    trees.mkdir(parents=True)
    for name in PI.device_trees:
        (trees / Path(name).name).write_bytes(b"\xd0\x0d\xfe\xed" + name.encode())
    (kernel / "boot").mkdir()
    (kernel / "boot" / "vmlinuz-6.12-arm64").write_bytes(bytes(0x38) + b"ARM\x64" + bytes(4000))
    (firmware / "usr" / "lib" / "raspi-firmware").mkdir(parents=True)
    for name in ("start4.elf", "fixup4.dat"):
        (firmware / "usr" / "lib" / "raspi-firmware" / name).write_bytes(name.encode() * 1000)
    return kernel, firmware


def boot_partition(packages: tuple[Path, Path], place: Path) -> disk.Partition:
    folder = place / "boot"
    folder.mkdir(parents=True)
    (place / "initrd").write_bytes(b"initrd" * 1000)
    kernel, firmware = packages
    raspberry_pi.lay(PI, kernel=kernel, firmware=firmware, initrd=place / "initrd", folder=folder)
    return disk.boot(folder, place / "boot.img", 40)


def test_boot_partition_holds_all_that_its_settings_name(
    packages: tuple[Path, Path], tmp_path: Path
) -> None:
    made = boot_partition(packages, tmp_path / "one")
    out = tmp_path / "read"
    out.mkdir()
    tools.run(["mcopy", "-s", "-i", str(made.content), "::*", out])
    config = dict(
        line.split("=", 1) for line in (out / "config.txt").read_text().splitlines() if "=" in line
    )
    assert (out / config["kernel"]).read_bytes()[0x38:0x3C] == b"ARM\x64"
    assert "initramfs initrd followkernel" in (out / "config.txt").read_text()
    assert (out / "initrd").stat().st_size == 6000
    assert (out / "cmdline.txt").read_text() == PI.command_line() + "\n"
    assert "console=ttyS1" in PI.command_line() and config["enable_uart"] == "1"
    assert {path.name for path in out.glob("*.dtb")} == {Path(t).name for t in PI.device_trees}
    assert (out / "start4.elf").exists() and (out / "fixup4.dat").exists()


def test_same_files_give_the_same_boot_partition(
    packages: tuple[Path, Path], tmp_path: Path
) -> None:
    one = boot_partition(packages, tmp_path / "one").content
    os.utime(packages[1] / "usr" / "lib" / "raspi-firmware" / "start4.elf", (1, 1))
    two = boot_partition(packages, tmp_path / "two").content
    assert one and two and disk.digest(one) == disk.digest(two)


def test_firmware_finds_its_partition_first_and_by_its_type(
    packages: tuple[Path, Path], tmp_path: Path
) -> None:
    made = boot_partition(packages, tmp_path / "one")
    image = tmp_path / "disk.img"
    places = disk.write(image, [made, disk.Partition("slots", 1)])
    assert [place["name"] for place in places] == ["boot", "slots"]
    said = tools.run(["sfdisk", "--part-type", image, "1"])
    assert said.strip() == "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
    with image.open("rb") as file:
        file.seek(int(places[0]["start"]) + 510)
        assert file.read(2) == b"\x55\xaa", "a FAT boot sector"


def test_kernel_that_the_firmware_cannot_start_is_refused(
    packages: tuple[Path, Path], tmp_path: Path
) -> None:
    (packages[0] / "boot" / "vmlinuz-6.12-arm64").write_bytes(b"MZ" + bytes(4000))
    with pytest.raises(BuildError, match="no plain arm64 kernel"):
        boot_partition(packages, tmp_path / "one")
    next((packages[0] / "usr" / "lib").rglob("*.dtb")).unlink()
    with pytest.raises(BuildError, match=r"dtb is not in its package"):
        boot_partition(packages, tmp_path / "two")


# ---- JetPack -------------------------------------------------------------------------------------


@pytest.fixture
def overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked archive, without packages and models."""
    monkeypatch.setattr(product, "wheels", lambda machine, cache, python: [])
    monkeypatch.setattr(product, "copy_models", lambda folder: None)
    made = [
        jetpack.build("3.10", "production", tmp_path, tmp_path / name) for name in ("out", "again")
    ]
    assert disk.digest(made[0]) == disk.digest(made[1])
    with tarfile.open(made[0]) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - made here
    return tmp_path / made[0].name.removesuffix(".tar.gz")


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """What of a JetPack root file system the overlay meets."""
    root = tmp_path / "Linux_for_Tegra" / "rootfs"
    for folder in ("etc", "usr/bin", "usr/sbin"):
        (root / folder).mkdir(parents=True)
    (root / "etc" / "nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\n")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc" / "group").write_text("root:x:0:\nvideo:x:44:\n")
    (root / "usr" / "bin" / "python3.10").write_text("#!/bin/sh\n")
    (root / "usr" / "bin" / "python3.10").chmod(0o755)
    return root


def apply(overlay: Path, root: Path | str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(overlay / "apply.sh"), str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else f"{path.stat().st_mode:o} {path.read_bytes().hex() if path.is_file() else ''}"
        for path in root.rglob("*")
    }


def test_overlay_brings_the_sensor_and_takes_logins_listeners_and_swap_away(
    overlay: Path, jetson: Path
) -> None:
    done = apply(overlay, jetson)
    assert done.returncode == 0, done.stderr
    units, chosen = jetson / "usr/lib/systemd/system", jetson / "etc/systemd/system"
    assert "flow-update" not in (units / "flow-supervisor.service").read_text()
    assert not (units / "flow-commit.service").exists()
    for name in ("flow-setup.service", "flow-supervisor.service"):
        link = (chosen / "multi-user.target.wants" / name).readlink()
        assert (jetson / link.relative_to("/")).is_file()
    mount = (chosen / "flow-setup.service.requires" / r"var-lib-flow\x2dsensor.mount").readlink()
    assert "noexec" in (jetson / mount.relative_to("/")).read_text()
    for name in ("ssh.service", "nvgetty.service", "serial-getty@.service", "nvzramconfig.service"):
        assert (chosen / name).readlink() == Path("/dev/null")
    users = (jetson / "etc" / "passwd").read_text()
    assert all(f"flow-{name}:" in users for name in ("supervisor", "vision", "uplink"))
    assert os.access(jetson / "opt/flow-sensor/libexec/setup", os.X_OK)
    assert (jetson / "opt/flow-sensor/bin/python").readlink() == Path("/usr/bin/python3.10")
    native = list((jetson / "opt/flow-sensor/cache/native").iterdir())
    assert native and all(path.read_bytes()[18:20] == b"\xb7\0" for path in native), "aarch64"
    before = tree(jetson)
    assert apply(overlay, jetson).returncode == 0
    assert tree(jetson) == before


def test_units_of_the_overlay_are_whole_and_confined(overlay: Path) -> None:
    """As systemd reads them, with what is added for a Jetson; only the programs are not here."""
    system = overlay / "rootfs" / "etc" / "systemd" / "system"
    units = overlay / "rootfs" / "usr" / "lib" / "systemd" / "system"
    places = {"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{system}:{units}:"}

    def analyse(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", "--no-pager", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=places)

    names = ("flow-supervisor.service", "flow-vision@1.service", "flow-uplink@1.service")
    mount = str(system / r"var-lib-flow\x2dsensor.mount")
    said = [
        line
        for line in analyse("verify", "--man=no", *names, mount).stderr.splitlines()
        if not any(key in line for key in NEWER)
    ]
    assert said and all("is not executable: No such file" in line for line in said), said
    exposure = analyse("security", "--offline=true", "flow-vision@1.service").stdout
    level = re.search(r"Overall exposure level for .*: ([0-9.]+)", exposure)
    assert level and float(level[1]) <= 1.5
    assert "✗ MemoryDenyWriteExecute" in exposure, "what is added for a Jetson counts"


def test_overlay_refuses_what_it_was_not_made_for(overlay: Path, jetson: Path) -> None:
    shutil.move(jetson / "usr/bin/python3.10", jetson / "usr/bin/python3.12")
    assert "needs python3.10" in apply(overlay, jetson).stderr
    (jetson / "etc" / "nv_tegra_release").unlink()
    assert "no root file system of JetPack" in apply(overlay, jetson).stderr
    assert "whole path" in apply(overlay, "rootfs").stderr
    with (overlay / "rootfs/etc/sysctl.d/90-flow.conf").open("a") as file:
        file.write("kernel.dmesg_restrict = 0\n")
    refused = apply(overlay, jetson)
    assert refused.returncode == 1 and "was altered" in refused.stderr
    assert not (jetson / "opt").exists()
