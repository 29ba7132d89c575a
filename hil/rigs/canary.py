"""What would be on a disk if any of a clip's pictures were: needles for `BoardProtocol.search`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from hil.rigs import clips
from hil.traces.needles import Index

_FRAMES = 12
_SLOTS = 1 << 22


def needles(clip: Path) -> Index:
    """Faces of a dozen frames as the decoder gives them, in colour and grey, and the clip's bytes.

    16 bytes each: long enough to stand nowhere by chance, short enough to be met in any copy that
    keeps rows of pixels together.
    """
    index = Index(_SLOTS)
    index.add("clip", np.fromfile(clip, np.uint8), words=2, step=16)
    truth = clips.truth(clip)
    faces = [sample for sample in truth["samples"] if sample["in_view"] > 0.9]
    wanted = {sample["frame"]: sample for sample in faces[:: max(1, len(faces) // _FRAMES)]}
    capture = cv2.VideoCapture(str(clip))
    for frame in range(truth["frames"]):
        done, pixels = capture.read()
        if done and frame in wanted:
            left, top, right, bottom = (round(edge) for edge in wanted[frame]["box"])
            face = np.ascontiguousarray(pixels[max(top, 0) : bottom, max(left, 0) : right])
            index.add("face", face, words=2, step=3)
            index.add("grey face", cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), words=2, step=1)
    capture.release()
    return index
