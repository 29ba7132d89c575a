"""From a frame to the detector's input, and from its heads to faces in the frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from firmware.vision import memory
from firmware.vision.detection import MOST_FACES, Detections, Detector
from firmware.vision.frames import Frame
from firmware.vision.letterbox import Letterbox, scale_of
from firmware.vision.sampling import HostSampler
from tests.unit import networks

WIDTH, HEIGHT = 64, 64
"""Of the detector's input; its heads have 16 x 16 cells of 4 px."""


class Face(NamedTuple):
    """What the heads say in one cell, in the detector's pixels."""

    row: int
    column: int
    score: float
    size: tuple[float, float] = (12.0, 16.0)
    offset: tuple[float, float] = (0.0, 0.0)


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    for owner in ("detector", "detector_engine"):
        memory.release(owner)


def detect(
    folder: Path,
    *cells: Face,
    frame_px: tuple[int, int] = (WIDTH, HEIGHT),
    score: float = 0.5,
) -> Detections:
    heat, size, offset, marks = (
        np.zeros((1, channels, HEIGHT // 4, WIDTH // 4), np.float32) for channels in (1, 2, 2, 10)
    )
    for face in cells:
        here = (0, slice(None), face.row, face.column)
        heat[here] = face.score
        size[here] = np.log((face.size[1] / 4, face.size[0] / 4))
        offset[here] = face.offset[::-1]
        # y, x of each point as parts of the box: the eyes, the nose, the mouth's corners
        marks[here] = (0.3, 0.25, 0.3, 0.75, 0.5, 0.5, 0.8, 0.25, 0.8, 0.75)
    answers = {"heatmap": heat, "size": size, "offset": offset, "landmarks": marks}
    engine = networks.constant(folder, "detector", (1, 3, HEIGHT, WIDTH), answers)
    width_px, height_px = frame_px
    sampler = HostSampler({"detector": engine}, width_px, height_px)
    detector = Detector(engine, sampler, width_px, height_px)
    frame = Frame(np.zeros((height_px, width_px, 3), np.uint8))
    return detector.detect(frame, score, 0.3)


def test_a_peak_becomes_a_box_around_the_middle_of_its_cell(tmp_path: Path) -> None:
    found = detect(tmp_path, Face(row=5, column=7, score=0.9))
    assert found.boxes_xyxy.tolist() == [[pytest.approx(v) for v in (24, 14, 36, 30)]]
    assert found.scores.tolist() == [pytest.approx(0.9)]


def test_the_offset_moves_it_in_cells(tmp_path: Path) -> None:
    found = detect(tmp_path, Face(row=5, column=7, score=0.9, offset=(0.5, -0.25)))
    assert found.boxes_xyxy[0].tolist() == pytest.approx([26, 13, 38, 29])


def test_landmarks_are_points_of_the_frame_x_first(tmp_path: Path) -> None:
    found = detect(tmp_path, Face(row=5, column=7, score=0.9))
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks[0].tolist()
    assert left_eye == pytest.approx([27, 18.8])
    assert right_eye == pytest.approx([33, 18.8])
    assert nose == pytest.approx([30, 22])
    assert left_mouth == pytest.approx([27, 26.8])
    assert right_mouth == pytest.approx([33, 26.8])


def test_boxes_and_landmarks_are_in_the_frames_pixels(tmp_path: Path) -> None:
    found = detect(tmp_path, Face(row=5, column=7, score=0.9), frame_px=(640, 320))
    assert found.boxes_xyxy[0].tolist() == pytest.approx([240, 140, 360, 300])
    assert found.landmarks[0, 2].tolist() == pytest.approx([300, 220])


def test_only_peaks_with_the_score_best_first(tmp_path: Path) -> None:
    found = detect(tmp_path, Face(2, 2, 0.6), Face(2, 12, 0.8), Face(12, 2, 0.49))
    assert found.scores.tolist() == [pytest.approx(0.8), pytest.approx(0.6)]
    assert found.boxes_xyxy[0, 0] > found.boxes_xyxy[1, 0]


def test_a_face_that_shows_in_two_cells_is_found_once_by_its_better_cell(tmp_path: Path) -> None:
    found = detect(tmp_path, Face(5, 7, 0.7), Face(5, 8, 0.9))
    assert found.scores.tolist() == [pytest.approx(0.9)]


def test_an_empty_picture_has_no_faces(tmp_path: Path) -> None:
    found = detect(tmp_path)
    assert len(found) == 0
    assert found.boxes_xyxy.shape == (0, 4) and found.landmarks.shape == (0, 5, 2)


def test_of_too_many_faces_the_weakest_are_left_out(tmp_path: Path) -> None:
    cells = [
        Face(row, column, 0.5 + (16 * row + column) / 1000, size=(2, 2))
        for row in range(16)
        for column in range(16)
    ]
    found = detect(tmp_path, *cells)
    assert len(found) == MOST_FACES
    assert found.scores[-1] == pytest.approx(0.5 + (256 - MOST_FACES) / 1000)


@pytest.mark.parametrize(
    ("frame_px", "covered"),
    [
        pytest.param((1280, 720), (448, 252), id="16:9, halved once"),
        pytest.param((1920, 1080), (448, 252), id="16:9, halved twice"),
        pytest.param((640, 480), (341, 256), id="4:3 in a wide input"),
        pytest.param((480, 270), (448, 252), id="not halved"),
        pytest.param((321, 181), (448, 253), id="odd and enlarged"),
        pytest.param((1081, 1921), (144, 256), id="odd, upright and halved"),
    ],
)
def test_a_frame_keeps_its_shape_at_the_top_left(
    frame_px: tuple[int, int], covered: tuple[int, int]
) -> None:
    target = np.zeros((1, 3, 256, 448), np.float32)
    letterbox = Letterbox(*frame_px, target)
    letterbox(np.full((frame_px[1], frame_px[0], 3), (10, 20, 30), np.uint8))
    width, height = covered
    assert scale_of(*frame_px, 448, 256) == pytest.approx(width / frame_px[0], rel=0.01)
    for plane, value in zip(target[0], (30, 20, 10), strict=True):  # red, green, blue
        assert (plane[:height, :width] == value).all()
        assert not plane[height:].any() and not plane[:, width:].any()


@pytest.mark.parametrize(("width_px", "halvings"), [(640, 0), (1280, 1), (1920, 2), (3840, 3)])
def test_a_frame_is_halved_while_it_stays_larger_than_the_input(
    width_px: int, halvings: int
) -> None:
    Letterbox(width_px, width_px * 9 // 16, np.zeros((1, 3, 256, 448), np.float32))
    held = [name for name, _ in memory.buffers("detector") if ".half" in name]
    assert len(held) == halvings


@pytest.mark.parametrize("frame_px", [(1280, 720), (1920, 1080), (640, 360)])
def test_a_point_is_where_the_scale_says(frame_px: tuple[int, int]) -> None:
    target = np.zeros((1, 3, 256, 448), np.float32)
    letterbox = Letterbox(*frame_px, target)
    frame = np.zeros((frame_px[1], frame_px[0], 3), np.uint8)
    x, y = frame_px[0] * 3 // 4, frame_px[1] // 3
    frame[y - 12 : y + 12, x - 12 : x + 12] = 255
    letterbox(frame)
    scale = scale_of(*frame_px, 448, 256)
    weight = target[0].sum(axis=0)
    rows, columns = np.indices(weight.shape)
    middle = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
    assert middle == pytest.approx(((x * scale) - 0.5, (y * scale) - 0.5), abs=0.3)


def test_detections_say_nothing_about_faces_when_printed(tmp_path: Path) -> None:
    assert repr(detect(tmp_path, Face(5, 7, 0.9))) == "Detections(1)"
