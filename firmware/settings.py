"""The one settings file of a sensor: TOML in, frozen Structs out.

An unknown key, a wrong type or a value out of range is a ConfigError that names the key's path.
The twin may change the keys in `TWIN_KEYS` and no others: never privacy, policy, keys or the hub.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from firmware.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DEVICE_ID = re.compile(r"[a-z0-9][a-z0-9._:-]{0,63}")

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)]
Pixels = Annotated[int, msgspec.Meta(ge=0, le=8192)]
PositiveCount = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Source(_Section, frozen=True):
    """Where frames come from: a device node, a clip's path, `csi://0` or `picamera://0`."""

    uri: str = ""
    width_px: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 1280
    height_px: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 720
    frames_per_s: Annotated[float, msgspec.Meta(ge=1, le=120)] = 25.0
    realtime: bool = True
    """Play a clip at its own pace (True) or as fast as the machine can (False)."""

    @property
    def camera(self) -> bool:
        """Whether it never ends, and one process at a time can have it."""
        kind, there, _ = self.uri.partition("://")
        return self.uri.startswith("/dev/") or bool(there and kind != "file")


class Policy(_Section, frozen=True):
    context: Literal["retail", "workplace", "education"] = "retail"
    mode: Literal["count", "attributes"] = "attributes"
    expression: bool = True
    """Must be false in a workplace or in education (EU AI Act, Article 5(1)(f))."""


class Privacy(_Section, frozen=True):
    strict: bool = False
    """Refuse to run when one guarantee does not hold. Device images set it to true."""
    time_rounding_s: Annotated[int, msgspec.Meta(ge=60, le=3600)] = 60
    recycle_after: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """Replace the vision process after so many interactions; 0: never."""
    recycle_every_s: Annotated[float, msgspec.Meta(ge=0.0, le=31_536_000.0)] = 0.0
    """Replace it after so long; 0: never. Either way a warm successor waits for an empty scene."""
    selftest_every_s: Seconds = 86_400.0
    """Self-test at the start and then so often, in a quiet moment; 0: only when asked to."""


class Detection(_Section, frozen=True):
    width_px: Annotated[int, msgspec.Meta(ge=160, le=1280, multiple_of=32)] = 448
    score: Fraction = 0.5
    overlap: Fraction = 0.3
    """Intersection over union above which two boxes are one face (NMS)."""


class Tracking(_Section, frozen=True):
    high_score: Fraction = 0.6
    confirm_after: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    """Detections that make a tentative track a confirmed one."""
    max_lost_s: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 1.5
    """Until then a visitor may only be hidden, so that long something of one who has left remains:
    the twin may change it, and must not keep anybody for a day."""


class Attributes(_Section, frozen=True):
    crops_per_track: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    faces_per_frame: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    minimum_face_px: Pixels = 28


class Interactions(_Section, frozen=True):
    minimum_dwell_s: Seconds = 0.5
    minimum_face_px: Pixels = 20
    zone: tuple[tuple[Fraction, Fraction], ...] = ()
    """Polygon in fractions of the frame; empty: the whole frame."""


class Models(_Section, frozen=True):
    directory: str = ""
    """Folder of converted models; empty: the cache of `python -m trt_engines`."""
    runtime: Literal["onnx", "tensorrt"] = "onnx"
    """What runs them: ONNX Runtime on the processor, or TensorRT on the GPU. Never one for the
    other: an engine that is missing ends the start."""


class Sealing(_Section, frozen=True):
    recipient: str = ""
    """Path of the recipient's public key (made by `flow-sensor keygen`)."""
    operator: str = ""
    """Path of the pinned operator public key that signs rotations; empty: no rotation."""


class Identity(_Section, frozen=True):
    directory: str = "/var/lib/flow-sensor"
    """Identity partition: device key, certificate, number block, cached hub."""
    device: str = ""
    """Device id = registration id = certificate CN; empty: what `<directory>/device` says."""


class Hub(_Section, frozen=True):
    """How to reach IoT Hub: by DPS (`id_scope`) or directly (`host`)."""

    host: str = ""
    id_scope: str = ""
    provisioning_host: str = "global.azure-devices-provisioning.net"
    gateway: str = ""
    """Address to connect to instead of `host` (tests, IoT Edge)."""
    trust: str = ""
    """PEM file with the roots that the hub's certificate must chain to; empty: the system's."""
    transport: Literal["mqtt", "websockets"] = "mqtt"
    acknowledge_s: Annotated[float, msgspec.Meta(ge=1, le=600)] = 30.0
    """Nothing acknowledged for so long while something waits: the uplink is replaced."""
    register_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 120.0
    """A registration, with the pauses that the service asks for, took so long: likewise."""
    retry_s: Annotated[float, msgspec.Meta(ge=0.01, le=600)] = 5.0
    """Mean of the first pause after a lost connection; doubled for each further failure."""
    retry_most_s: Annotated[float, msgspec.Meta(ge=0.01, le=3600)] = 300.0
    first_contact_s: Seconds = 10.0
    """A new device waits a random time up to this before it registers for the first time."""
    site: str = ""
    profile: str = ""


class Outbox(_Section, frozen=True):
    capacity: PositiveCount = 20_000
    """Envelopes held in RAM; the oldest is dropped, counted and reported when it is full."""


class HealthReport(_Section, frozen=True):
    every_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 300.0


class Settings(_Section, frozen=True):
    source: Source = Source()
    policy: Policy = Policy()
    privacy: Privacy = Privacy()
    detection: Detection = Detection()
    tracking: Tracking = Tracking()
    attributes: Attributes = Attributes()
    interactions: Interactions = Interactions()
    models: Models = Models()
    sealing: Sealing = Sealing()
    identity: Identity = Identity()
    hub: Hub = Hub()
    outbox: Outbox = Outbox()
    health: HealthReport = HealthReport()


TWIN_KEYS = frozenset(
    {
        "detection.score",
        "tracking.max_lost_s",
        "attributes.crops_per_track",
        "interactions.minimum_dwell_s",
        "interactions.minimum_face_px",
        "interactions.zone",
        "health.every_s",
    }
)
"""What the twin's desired properties may change, all of it without a restart."""


def load(path: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        ConfigError: the file is missing or unreadable, is no TOML, or a value is wrong.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"settings file {path} does not exist",
            remedy="pass --settings with the path of a sensor.toml; docs/settings.md shows one",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"settings file {path} cannot be read ({type(error).__name__})",
            remedy="make it a readable UTF-8 text file",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"settings file {path} is not TOML: {error}", remedy="mend the line that is named"
        ) from error
    return check(tree)


def check(tree: dict[str, Any]) -> Settings:
    """Builtins as they stand in the TOML file → Settings.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or is out of range.
    """
    try:
        settings = msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"settings: {_with_path(str(error))}",
            remedy="correct or remove that key; docs/settings.md lists every key with its range",
        ) from error
    if settings.policy.expression and settings.policy.context != "retail":
        raise ConfigError(
            f"settings: [policy] expression = true in context {settings.policy.context!r}",
            remedy="set expression = false: recognising emotions at work or in education is "
            "prohibited (EU AI Act, Article 5(1)(f))",
        )
    return settings


def device_id(identity: Identity) -> str:
    """The id under which the cloud knows this device (1 to 64 characters).

    Raises:
        ConfigError: neither the settings nor the identity partition name a usable one.
    """
    file = Path(identity.directory) / "device"
    try:
        name = identity.device or file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"no device id: {file} cannot be read ({type(error).__name__})",
            remedy="provision the device with flow-provision, or set [identity] device",
        ) from error
    if not _DEVICE_ID.fullmatch(name):
        raise ConfigError(
            f"device id {name[:70]!r} cannot be used",
            remedy="take 1 to 64 of the characters a-z 0-9 . _ : -, beginning with a letter "
            "or a digit",
        )
    return name


def recipient_key(sealing: Sealing) -> bytes:
    """The public key that records are sealed to, as `flow-sensor keygen` wrote it.

    Raises:
        ConfigError: the settings name no readable file. Vision checks what is in it.
    """
    try:
        return Path(sealing.recipient).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"[sealing] recipient {sealing.recipient!r} cannot be read ({type(error).__name__})",
            remedy="make a key pair with `flow-sensor keygen` and name its public key there",
        ) from error


def operator_key(sealing: Sealing) -> bytes:
    """The pinned operator key that signs recipient keys; empty when none is pinned.

    Raises:
        ConfigError: the settings name a file that cannot be read.
    """
    try:
        return Path(sealing.operator).read_bytes() if sealing.operator else b""
    except OSError as error:
        raise ConfigError(
            f"[sealing] operator {sealing.operator!r} cannot be read ({type(error).__name__})",
            remedy="name the PEM file of the operator's public key, or remove the setting",
        ) from error


def patched(settings: Settings, patch: dict[str, Any]) -> Settings:
    """Settings after a twin's desired patch such as `{"detection": {"score": 0.6}}`.

    Raises:
        ConfigError: the patch names a key that the twin may not change, or a wrong value;
            the settings that were given stay valid.
    """
    tree: dict[str, Any] = msgspec.to_builtins(settings)
    for section, values in patch.items():
        if values == {} and section in tree:
            continue  # what stays in a twin when the last key of a section was deleted
        keys = [f"{section}.{key}" for key in values] if isinstance(values, dict) else []
        refused = [key for key in keys or [section] if key not in TWIN_KEYS]
        if refused:
            raise ConfigError(
                f"twin: {refused[0][:80]} cannot be changed from afar",
                remedy=f"change one of {', '.join(sorted(TWIN_KEYS))}, or the settings file",
            )
        tree[section] = {**tree[section], **values}
    return check(tree)


def filled(patch: dict[str, Any], given: Settings) -> dict[str, Any]:
    """A desired patch with the file's values where it says null: there the twin lets go of a key,
    or of a whole section."""
    tree = builtins(given)
    result = dict(patch)
    for section in patch.keys() & tree.keys():
        own, wanted = tree[section], patch[section]
        if wanted is None:
            result[section] = {k: v for k, v in own.items() if f"{section}.{k}" in TWIN_KEYS}
        elif isinstance(wanted, dict):
            result[section] = {k: own.get(k) if v is None else v for k, v in wanted.items()}
    return result


def builtins(settings: Settings) -> dict[str, Any]:
    """Settings as plain dicts and scalars, for a message to another process."""
    tree: dict[str, Any] = msgspec.to_builtins(settings)
    return tree


def _with_path(text: str) -> str:
    """msgspec's `… - at `$.a.b`` as `a.b: …`; its unknown fields name the key themselves."""
    what, separator, where = text.partition(" - at `$")
    path = where.strip("`.") if separator else ""
    return f"{path}: {what}" if path else what
