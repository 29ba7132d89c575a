"""Everything that the processes say to each other.

One message is one packet on a Unix SOCK_SEQPACKET pair, encoded as MessagePack with a tag.
No message can carry a frame, and none that the supervisor or the uplink receives holds a plain
record: `Sealed.envelope` is ciphertext by the time it leaves vision.
"""

from __future__ import annotations

import socket
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from firmware.errors import BY_NAME, SensorError

MAX_PACKET = 64 * 1024

Count = Annotated[int, msgspec.Meta(ge=0)]


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages; the tag on the wire is the class name."""


# ---- both directions ---------------------------------------------------------------------------


class Stop(Message, frozen=True):
    """Supervisor → child: end in order. Vision closes open interactions and seals them."""


class Failed(Message, frozen=True):
    """Child → supervisor: last word before it exits because of a SensorError."""

    error: str
    problem: str
    remedy: str


class Guarantee(msgspec.Struct, frozen=True):
    """One privacy guarantee as checked by the process that must keep it."""

    name: str
    holds: bool
    remedy: str = ""


# ---- supervisor ↔ vision -----------------------------------------------------------------------


class StartVision(Message, frozen=True):
    """First message to vision: the settings as TOML-shaped builtins, and the recipient's key.

    `paused`: load everything, but leave the camera closed until `Resume`.
    """

    settings: dict[str, Any]
    device: str
    recipient_key: bytes
    paused: bool = False


class NumberLease(Message, frozen=True):
    """Numbers `first … first+count-1` may be given to interactions, in order."""

    first: Count
    count: Count


class Recipient(Message, frozen=True):
    """Seal to this public key from now on. From the uplink, which checked the operator's
    signature, through the supervisor to vision, which checks it again."""

    public_key: bytes


class Pause(Message, frozen=True):
    """Camera off until `Resume`."""


class Resume(Message, frozen=True):
    pass


class Retire(Message, frozen=True):
    """End as after `Stop`, but not before nobody is in view: a successor waits."""


class Patch(Message, frozen=True):
    """Settings that vision may change while it runs, already validated by the supervisor."""

    settings: dict[str, Any]


class SelfTest(Message, frozen=True):
    """Run the short trace test at the next empty scene and answer with `SelfTested`."""


class VisionReady(Message, frozen=True):
    """Models loaded, camera open, guarantees checked.

    `models`: version of the set that came apart from the image, or "" for the image's own.
    """

    model_set: str
    guarantees: tuple[Guarantee, ...] = ()
    models: str = ""


class Sealed(Message, frozen=True):
    """One sealed interaction. The supervisor keeps it until the hub has acknowledged it."""

    number: Count
    envelope: bytes


class VisionHealth(Message, frozen=True):
    """Every few seconds; totals since the process started, scalars only."""

    frames: Count = 0
    frames_per_s_x10: Count = 0
    visitors_now: Count = 0
    interactions: Count = 0
    camera_losses: Count = 0
    frame_ms_p95_x10: Count = 0
    frame_cpu_ms_p95_x10: Count = 0
    wipes: Count = 0
    wipe_ms_p95_x10: Count = 0


class SelfTested(Message, frozen=True):
    """What the short trace test found: values of a drawn face, after the wipe of it.

    `hits` values remain; before the wipe the search met `controls` of the kinds of buffers, all of
    them when `passed`.
    """

    passed: bool
    hits: Count
    controls: Count
    took_ms: Count


class Retired(Message, frozen=True):
    """Everything is sealed and wiped and the camera closed: the successor may have it, before
    this process has quite gone."""


class SourceEnded(Message, frozen=True):
    """A video file came to its end and every interaction in it is sealed."""

    frames: Count


# ---- supervisor ↔ uplink -----------------------------------------------------------------------


class StartUplink(Message, frozen=True):
    settings: dict[str, Any]
    device: str
    recipient_key: bytes


class Deliver(Message, frozen=True):
    """Send this envelope. Sent again after a restart of the uplink: it may arrive twice."""

    number: Count
    envelope: bytes


class Health(Message, frozen=True):
    """The device's health record as builtins; the uplink seals, signs and sends it."""

    body: dict[str, Any]


class Report(Message, frozen=True):
    """Reported properties for the twin, as a merge patch."""

    patch: dict[str, Any]


class MethodResult(Message, frozen=True):
    request: str
    status: int
    payload: dict[str, Any]


class UplinkReady(Message, frozen=True):
    """Connected. `reported_number` is the high-water mark that the twin held, or 0."""

    hub: str
    reported_number: Count = 0
    recipient_key: bytes = b""


class Delivered(Message, frozen=True):
    """The hub has acknowledged these interactions."""

    numbers: tuple[int, ...]


class HubLost(Message, frozen=True):
    reason: str


class Desired(Message, frozen=True):
    """A desired-properties patch from the twin."""

    version: int
    patch: dict[str, Any]


class MethodCall(Message, frozen=True):
    request: str
    name: str
    payload: dict[str, Any]


UplinkFault: TypeAlias = Literal["none", "expired", "early", "refused", "unreachable", "stalled"]
"""Why the last connection failed: the certificate's end, the clock, the service, the network, or
a call that was never answered."""


class UplinkHealth(Message, frozen=True):
    """Totals since the process started."""

    connected: bool = False
    sent_messages: Count = 0
    sent_bytes: Count = 0
    connections: Count = 0
    certificate_days: int = 0
    last_fault: UplinkFault = "none"


# ---- supervisor ↔ updater ----------------------------------------------------------------------

UpdateStage: TypeAlias = Literal[
    "downloading", "installing", "restarting", "trial", "committed", "refused"
]


UpdatePart: TypeAlias = Literal["image", "models"]


class StartUpdate(Message, frozen=True):
    """Bring this bundle onto the device; `sha256` is of the whole file."""

    url: str
    sha256: str
    version: str
    part: UpdatePart = "image"


class Works(Message, frozen=True):
    """To an updater that tries models: whether all works, which models vision looks with, and how
    often a successor has failed since the trial began."""

    works: bool = False
    models: str = ""
    failures: Count = 0


class UpdateState(Message, frozen=True):
    """How far it is. `trial`: it runs and has not proven itself yet."""

    state: UpdateStage
    version: str
    percent: Count = 0
    error: str = ""


FromVision: TypeAlias = (
    VisionReady | Sealed | VisionHealth | SelfTested | Retired | SourceEnded | Failed
)
ToVision: TypeAlias = (
    StartVision | NumberLease | Recipient | Pause | Resume | Retire | Patch | SelfTest | Stop
)
FromUplink: TypeAlias = (
    UplinkReady | Delivered | HubLost | Desired | MethodCall | UplinkHealth | Recipient | Failed
)
ToUplink: TypeAlias = StartUplink | Deliver | Health | Report | MethodResult | Stop
Updating: TypeAlias = StartUpdate | Works | UpdateState
AnyMessage: TypeAlias = FromVision | ToVision | FromUplink | ToUplink | Updating

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of sockets that keep packet boundaries."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: AnyMessage) -> None:
    """Send one message; blocks while the peer's queue is full.

    Raises:
        OSError: the peer is gone.
    """
    channel.send(_encoder.encode(message))


def fits(message: AnyMessage) -> bool:
    """Whether a message that holds what a stranger wrote can be sent: one packet, and no number or
    text that MessagePack lacks."""
    try:
        return len(_encoder.encode(message)) <= MAX_PACKET
    except (OverflowError, ValueError, RecursionError):
        return False


def receive(channel: socket.socket) -> AnyMessage | None:
    """Receive one message, or None when the peer has closed its end.

    Raises:
        BlockingIOError: the channel is non-blocking and has nothing.
        msgspec.DecodeError: the packet is no message of this contract.
    """
    try:
        packet = channel.recv(MAX_PACKET)
    except ConnectionResetError:
        # The peer left something unread when it ended: Linux says that before its last words.
        packet = channel.recv(MAX_PACKET)
    return _decoder.decode(packet) if packet else None


def failed(error: SensorError) -> Failed:
    return Failed(type(error).__name__, error.problem, error.remedy)


def as_error(message: Failed) -> SensorError:
    """The SensorError that a child died of."""
    return BY_NAME.get(message.error, SensorError)(message.problem, remedy=message.remedy)
