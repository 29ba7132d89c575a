"""The scenes of the rigs, as the slowest of them shows them, through the product's own pipeline."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from labgrid import Environment

from firmware.drivers.video_file import VideoFile
from firmware.settings import Settings
from hil.rigs import clips, disk_camera, files
from hil.scenes import evaluation, script


@pytest.fixture(scope="module")
def camera() -> disk_camera.DiskCamera:
    target = Environment(str(files.rig("virtual"))).get_target()
    found = target.get_driver("DiskCamera", activate=False)
    assert isinstance(found, disk_camera.DiskCamera)
    return found


@pytest.mark.parametrize("name", [path.stem for path in sorted(script.NEAR.glob("*.scene"))])
def test_few_coarse_frames_of_a_scene_are_enough_to_count(
    name: str, camera: disk_camera.DiskCamera, tmp_path: Path
) -> None:
    scene, clip = clips.clip(name)
    shown = tmp_path / "clip.mp4"
    disk_camera.thin([clip, clip], shown, every=camera.every, gap=camera.gap, tail=5)
    models = disk_camera.models_for(camera.detector_px)
    settings = msgspec.convert(
        {"models": {"directory": str(models)}, "detection": {"width_px": camera.detector_px}},
        Settings,
    )
    _, counted = evaluation.watch(VideoFile(shown, realtime=False), settings)
    assert len(counted) == 2 * scene.interactions
