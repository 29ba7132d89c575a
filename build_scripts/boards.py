"""The boards: what each image is made of, and how it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from build_scripts.errors import BuildError

Flavour: TypeAlias = Literal["production", "rig"]

_SYSTEM = [
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "python3",
    "ca-certificates",
    "systemd-timesyncd",
    "systemd-resolved",
    "rauc",
    "rauc-service",
    "busybox-static",
    "dmsetup",
    "e2fsprogs",
    "signify-openbsd",
    "iproute2",
    "procps",
]
_BOOT_MODULES = [
    "loop",
    "squashfs",
    "crc32c_generic",
    "ext4",
    "dm-mod",
    "dm-verity",
    "sha256_generic",
    "overlay",
]
_VIRTIO = ["virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio-rng"]
_PI_CARD = ["fixed", "gpio-regulator", "sdhci-iproc"]
_PI_PARTS = [
    *("bcm2835_wdt", "raspberrypi-cpufreq", "bcm2711_thermal", "iproc-rng200", "nvmem-rmem"),
    *("genet", "bcm7xxx", "broadcom", "mdio-bcm-unimac"),  # Ethernet
    *("reset-raspberrypi", "xhci-pci", "autofs4", "nbd"),
]
"""Of a Raspberry Pi 4: what is before its card, and what may come behind the root."""
_CAMERAS = ["uvcvideo", "videobuf2-v4l2", "v4l2loopback"]


@dataclass(frozen=True)
class Board:
    """One board in one architecture.

    Attributes:
        packages: Debian packages, beside the essential ones.
        kernel: the Debian package whose kernel starts it.
        boot_modules: kernel modules of the initramfs, in any order.
        modules: modules that the running system may load besides.
        console: serial console.
        qemu: the machine, where it is one of QEMU's.
        device_trees: for a board whose firmware starts the kernel from a FAT partition: those that
            lie there, files of the kernel's package.
    """

    name: str
    architecture: str
    packages: tuple[str, ...]
    kernel: str
    boot_modules: tuple[str, ...]
    modules: tuple[str, ...]
    console: str
    qemu: tuple[str, ...] = ()
    device_trees: tuple[str, ...] = ()

    @property
    def machine(self) -> str:
        """As `uname -m` has it."""
        return {"amd64": "x86_64", "arm64": "aarch64"}[self.architecture]

    @property
    def compatible(self) -> str:
        """What an update must be made for."""
        return f"flow-sensor-{self.name}-{self.architecture}"

    def command_line(self) -> str:
        # A slow emulator fails the kernel's test of the timer, which then stops.
        timer = "no_timer_check " if self.architecture == "amd64" else ""
        return (
            f"console={self.console},115200 quiet panic=10 oops=panic init_on_free=1 "
            f"init_on_alloc=1 {timer}systemd.gpt_auto=0 systemd.swap=0 systemd.show_status=0 "
            "lsm=landlock,lockdown,yama,integrity,bpf"
        )


def board(name: str, architecture: str) -> Board:
    """Look a board up.

    Raises:
        BuildError: there is none of that name and architecture.
    """
    try:
        return _BOARDS[name, architecture]
    except KeyError:
        known = ", ".join(f"{name} ({architecture})" for name, architecture in _BOARDS)
        raise BuildError(
            f"there is no board {name!r} for {architecture}", remedy=f"take one of {known}"
        ) from None


def _virt(architecture: str, console: str, boot_modules: Sequence[str], qemu: str) -> Board:
    return Board(
        name="virt",
        architecture=architecture,
        packages=tuple(_SYSTEM),
        kernel=f"linux-image-{architecture}",
        boot_modules=(*_BOOT_MODULES, *_VIRTIO, *boot_modules),
        modules=("i6300esb", "autofs4", "nbd", *_CAMERAS),
        console=console,
        qemu=(*qemu.split(), "-m", "1024", "-device", "virtio-rng-pci"),
    )


NAMES = ("virt", "raspberry-pi")
_SLOW = "-avx,-avx2,-fma,-f16c,-erms"

_BOARDS = {
    ("virt", "amd64"): _virt(
        "amd64",
        "ttyS0",
        [],  # no sha256-ssse3: emulated, it makes dm-verity slower than plain C does
        # One processor: emulated ones trip over the kernel rewriting its own code (QEMU 7.2).
        # Without AVX, which it emulates 17 times more slowly than SSE, and without `erms`, by which
        # memory is cleared byte by byte (docs/decisions/0053).
        f"qemu-system-x86_64 -machine q35 -cpu max,{_SLOW} -smp 1 -device i6300esb "
        "-action watchdog=reset",
    ),
    ("virt", "arm64"): _virt(
        "arm64",
        "ttyAMA0",
        ["sha256-arm64"],
        "qemu-system-aarch64 -machine virt -cpu cortex-a72 -smp 2 -device i6300esb "
        "-action watchdog=reset",
    ),
    ("raspberry-pi", "arm64"): Board(
        name="raspberry-pi",
        architecture="arm64",
        packages=tuple(_SYSTEM),
        kernel="linux-image-arm64",
        boot_modules=(*_BOOT_MODULES, *_PI_CARD, "sha256-arm64"),
        modules=(*_PI_PARTS, *_CAMERAS),
        console="ttyS1",
        device_trees=tuple(f"broadcom/bcm2711-rpi-{name}.dtb" for name in ("4-b", "400", "cm4-io")),
    ),
}
