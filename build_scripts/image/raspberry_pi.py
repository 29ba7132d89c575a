"""What lies on a Raspberry Pi's boot partition: its firmware, kernel, initramfs and device trees.

The firmware in the board's EEPROM reads the FAT partition of a GPT disk, loads these into memory
and starts the kernel. Debian's kernel knows the Pi 4, 400 and Compute Module 4 whole; of a Pi 5 it
has neither Ethernet nor USB, so that no image is made for it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from build_scripts.boards import Board
from build_scripts.errors import BuildError

MIB = 128
_FIRMWARE = ("start4.elf", "fixup4.dat")
_ARM64_IMAGE = b"ARM\x64"
_CONFIG = """\
# Read by the firmware, not by the system: nothing on the device writes here.
arm_64bit=1
kernel=vmlinuz
initramfs initrd followkernel
upstream_kernel=1
enable_uart=1
disable_splash=1
camera_auto_detect=0
display_auto_detect=0
dtparam=audio=off
"""


def lay(board: Board, *, kernel: Path, firmware: Path, initrd: Path, folder: Path) -> None:
    """Lay the files of the boot partition into an empty folder.

    Args:
        kernel: the unpacked kernel package.
        firmware: the unpacked package of the board's firmware.
        initrd: the initramfs.

    Raises:
        BuildError: a file is not in its package, or the kernel is none that the firmware starts.
    """
    image = next((kernel / "boot").glob("vmlinuz-*"))
    trees = next((kernel / "usr" / "lib").glob("linux-image-*"))
    wanted = {
        "vmlinuz": image,
        "initrd": initrd,
        **{name: firmware / "usr" / "lib" / "raspi-firmware" / name for name in _FIRMWARE},
        **{Path(name).name: trees / name for name in board.device_trees},
    }
    for name, source in wanted.items():
        if not source.is_file():
            raise BuildError(
                f"{source.name} is not in its package", remedy="write the lock again, or mend this"
            )
        shutil.copyfile(source, folder / name)
    with image.open("rb") as file:
        if file.read(0x3C)[0x38:] != _ARM64_IMAGE:
            raise BuildError(
                f"{image.name} is no plain arm64 kernel", remedy="unpack it before it is laid down"
            )
    (folder / "config.txt").write_text(_CONFIG)
    (folder / "cmdline.txt").write_text(f"{board.command_line()}\n")
