"""Clips of visitors who carry a canary: noise over their faces that no two frames share.

A real portrait makes the detector see a face; the noise makes every run of its pixels, and of all
that is computed from them, a value that stands nowhere else in memory by chance.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from hil.scenes import portraits

WIDTH_PX, HEIGHT_PX, FRAMES_PER_S = 1280, 720, 25
HEAD_PX = 230
WALL_BGR = (150, 140, 130)
NOISE = 14
"""Largest change of a channel. More would hide the faces."""
VARIATION = 1
"""What a clip's `seed` changes: nearly every pixel, and nothing that the program does."""

LEAST_BYTES, FRAME_BYTES = 50_000, 400_000
"""Of a coded frame: more than a decoder reads ahead, and more than three visitors take."""

CLEAR_PX = 300
"""Heads and what is cut around them lie beyond 256 px: the interpreter keeps smaller integers ready
and makes larger ones, so that an edge at 256 in one clip and at 257 in the other would deal blocks
of the heap in another order. That tells where a head was to a pixel in one place, and no more."""
LEAD, SEEN, TAIL = 6, 12, 26
"""Frames: empty before a visit, in view, empty after it. After a wipe OpenCV seeks by decoding up
to 16 earlier frames again, so the tail until the wipe is longer than that."""


ONE_STAYS = 4
"""Which of the five kinds of visits that follow each other in a programme."""


class Visitor(NamedTuple):
    """One visitor: in view in frames `first … last - 1`, at a place of its own."""

    portrait: str
    seed: int
    left_px: int
    top_px: int
    first: int
    last: int


class Visit(NamedTuple):
    """Visitors who are wiped together.

    Attributes:
        visitors: who.
        marked: frames `first … last - 1` whose derived values are looked for afterwards.
        others: visitors who are still in view when these have left.
    """

    visitors: tuple[Visitor, ...]
    marked: tuple[int, int]
    others: tuple[Visitor, ...] = ()

    @property
    def interactions(self) -> int:
        return len(self.visitors)


class Programme(NamedTuple):
    """What happens in a clip.

    Attributes:
        visits: of those who come and leave.
        last: one who is still in view when the sensor is stopped or fails.
    """

    visits: tuple[Visit, ...]
    last: Visit
    frames: int

    @property
    def visitors(self) -> tuple[Visitor, ...]:
        visits = (*self.visits, self.last)
        return tuple({visitor: None for visit in visits for visitor in visit.visitors})

    @property
    def interactions(self) -> int:
        return sum(visit.interactions for visit in (*self.visits, self.last))


def programme(interactions: int, seed: int, *, begins: int = 0) -> Programme:
    """So many interactions: most visitors come alone, some in threes, some leave one who stays.

    Args:
        begins: at which kind of visit, such as `ONE_STAYS`.
    """
    rng = np.random.default_rng(seed)
    visits: list[Visit] = []
    at, left = LEAD, interactions - 1

    def visitor(place: int, first: int, last: int) -> Visitor:
        portrait = portraits.NAMES[int(rng.integers(len(portraits.NAMES)))]
        canary = int(rng.integers(1 << 31))
        left_px = CLEAR_PX + 320 * place + int(rng.integers(80))
        top_px = CLEAR_PX + int(rng.integers(160))
        return Visitor(portrait, canary, left_px, top_px, first, last)

    while left:
        kind = (len(visits) + begins) % 5
        if kind == 2 and left >= 3:
            group = tuple(visitor(place, at, at + SEEN) for place in range(3))
            visits.append(Visit(group, (at, at + SEEN)))
        elif kind == ONE_STAYS and left >= 2:
            alone = SEEN - 4
            leaver = visitor(0, at, at + alone)  # or the stayer's votes would follow its pixels
            stayer = visitor(2, at + alone, at + SEEN + TAIL)
            visits.append(Visit((leaver,), (at, at + alone), others=(stayer,)))
            at += TAIL
            visits.append(Visit((stayer,), (at - TAIL + alone, at + SEEN)))
        else:
            visits.append(Visit((visitor(int(rng.integers(3)), at, at + SEEN),), (at, at + SEEN)))
        left -= visits[-1].interactions + (1 if kind == ONE_STAYS and left >= 2 else 0)
        at += SEEN + TAIL + LEAD
    last = Visit((visitor(1, at, at + SEEN + TAIL),), (at, at + SEEN))
    return Programme(tuple(visits), last, at + SEEN + TAIL)


def write(
    path: Path, script: Programme, *, seed: int = 0, cut: bool = False, level: bool = False
) -> None:
    """Write the clip as H.264, without loss and with every frame on its own.

    So a visitor changes no pixel but the visitor's own: lossy coding would let the background
    beside a head change with it, and pass for a trace.

    Args:
        seed: other pixels for the first visitor, at the same place and time.
        cut: the file ends in the middle of the last visit, so that its decoder fails there.
        level: every frame takes `FRAME_BYTES`, so that no place in the file follows the pixels.
    """
    options = {"preset": "ultrafast", "qp": "0", "x264-params": "keyint=1:threads=1"}
    layout = {"movflags": "faststart"}  # the index first: a file that is cut can be opened
    with av.open(str(path), "w", options=layout) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_S, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        frames = (av.VideoFrame.from_ndarray(p, format="bgr24") for p in pictures(script, seed))
        for frame in chain(frames, (None,)):  # None: what the encoder still holds
            for packet in stream.encode(frame):
                container.mux(_filled(packet, FRAME_BYTES if level else LEAST_BYTES))
    if cut:
        os.truncate(path, _place(path, script.last.marked[1]))


def _filled(packet: Any, least: int) -> Any:
    """A packet made longer by a filler unit, which decoders pass over (H.264, 7.3.2.7)."""
    head, end = b"\0\0\0\1\x0c", b"\x80"
    content = bytes(packet)
    filler = head + b"\xff" * (least - len(content) - len(head) - len(end)) + end
    longer = av.Packet(content + filler)
    longer.stream, longer.time_base = packet.stream, packet.time_base
    longer.pts, longer.dts, longer.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
    return longer


def _place(path: Path, frame: int) -> int:
    """Where a frame's packet begins in the file."""
    with av.open(str(path)) as container:
        packet = next(islice(container.demux(video=0), frame, None))
    assert packet.pos is not None
    return packet.pos


def pictures(script: Programme, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Every frame of the clip before it is encoded, u8 (H, W, 3) BGR."""
    scene = wall()
    for index in range(script.frames):
        picture = scene.copy()
        for visitor in script.visitors:
            if visitor.first <= index < visitor.last:
                _draw(picture, visitor, index, seed if visitor is script.visitors[0] else 0)
        yield picture


def wall() -> NDArray[np.uint8]:
    """The scene without visitors. Of one colour: a pattern would come again behind another's head,
    in whatever is computed from both, and pass for a trace of the first one."""
    return np.full((HEIGHT_PX, WIDTH_PX, 3), WALL_BGR, np.uint8)


def _draw(picture: NDArray[np.uint8], visitor: Visitor, index: int, seed: int) -> None:
    """A head with noise in full over each of its pixels: none is clipped, none shines through, for
    what two frames have in common would pass for a trace."""
    level = portraits.head(visitor.portrait).levels[0]
    width = round(level.shape[1] * HEAD_PX / level.shape[0])
    size = (HEAD_PX, width, 3)
    head = cv2.resize(level, (width, HEAD_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    room = NOISE + VARIATION + 1
    pixels = room + head[..., :3] * ((255 - 2 * room) / 255)
    pixels += np.random.default_rng((visitor.seed, index)).uniform(-NOISE, NOISE, size)
    if seed:
        pixels += np.random.default_rng((seed, index)).uniform(-VARIATION, VARIATION, size)
    place = picture[visitor.top_px : visitor.top_px + HEAD_PX, visitor.left_px :][:, :width]
    inside = head[..., 3] > 127
    place[inside] = pixels[inside]
