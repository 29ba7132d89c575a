"""The vision process: `python -m firmware.vision --channel FD`, started by the supervisor.

Its libraries stay on one thread (they park floats of pictures on the stacks of others), and what
it imports is all that it ever loads.
"""

from __future__ import annotations

import argparse
import functools
import gc
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from firmware import deadline, engine_file, messages, model_sets, settings
from firmware.errors import CameraError, EngineError, SensorError
from firmware.event_log import log
from firmware.key_statement import RecipientKey
from firmware.settings import Settings, Source
from firmware.vision import models, sandbox
from firmware.vision.engine import Engine
from firmware.vision.frames import Closed, FrameSource
from firmware.vision.models import Model

if TYPE_CHECKING:
    from firmware.vision.sampling import Sampler


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m firmware.vision")
    parser.add_argument("--channel", type=int, required=True, help="inherited socket")
    channel = socket.socket(fileno=parser.parse_args().channel)
    deadline.extend(deadline.START_S)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    try:
        start = messages.receive(channel)
        if not isinstance(start, messages.StartVision):
            return 1
        look(channel, start)
    except SensorError as error:
        messages.send(channel, messages.failed(error))
        return error.exit_code
    except (ConnectionError, msgspec.DecodeError):
        return 1  # the supervisor is gone or mad: nobody is left to tell
    except Exception as error:  # its text may hold what was seen, and stderr goes to the journal
        log("vision_broke", error=type(error).__name__)
        return 1
    return 0


def look(channel: socket.socket, start: messages.StartVision) -> None:
    """Open the source, load the engines that the policy allows, and run the loop.

    Raises:
        PrivacyError: `[privacy] strict` is set and a guarantee does not hold.
        SensorError: what vision cannot run without, or stopped for.
        ConnectionError: the supervisor is gone.
    """
    began = time.monotonic()
    current = settings.check(start.settings)
    key = RecipientKey(settings.operator_key(current.sealing))
    recipient = key.take(start.recipient_key)
    folder, version = model_sets.chosen(current.models.directory)
    sandbox.enter(current, folder)
    from firmware import guarantees  # noqa: PLC0415
    from firmware.vision.pipeline import Pipeline  # noqa: PLC0415
    from firmware.vision.worker import Worker  # noqa: PLC0415

    open_opened = functools.partial(open_source, current)
    asked = current.source
    source = Closed(asked) if start.paused and asked.camera else open_opened()
    frame_px = (source.width_px, source.height_px)
    loaded = load_engines(current, folder, frame_px)
    model_set = models.model_set(loaded.models)
    pipeline = Pipeline(
        current, loaded.engines, model_set=model_set, frame_px=frame_px, sampler=loaded.sampler
    )
    worker = Worker(
        channel,
        open_opened,
        pipeline,
        source=source,
        recipient=recipient,
        rotate=key.take,
        device=start.device,
        paused=start.paused,
    )
    pipeline.turn()  # a blank frame: what libraries load or start late is there to be checked
    gc.freeze()  # what is here now stays: a wipe's collection need not look at it again
    kept = guarantees.check(current)
    if current.privacy.strict:
        guarantees.require(kept)
    if current.privacy.selftest_every_s:
        worker.test_itself()
    log("vision_ready", model_set=model_set, start_ms=round((time.monotonic() - began) * 1000))
    messages.send(channel, messages.VisionReady(model_set, kept, version))
    worker.run()


class Loaded(NamedTuple):
    """Engines by name, what they were made from, and what fills their inputs; None: OpenCV."""

    engines: Mapping[str, Engine]
    models: Sequence[Model]
    sampler: Sampler | None


def load_engines(current: Settings, folder: Path, frame_px: tuple[int, int]) -> Loaded:
    """The engines that the policy allows, in the runtime that `[models] runtime` names.

    Args:
        folder: of the converted models.
        frame_px: width and height of the frames.

    Raises:
        EngineError: one of them is missing or does not fit this machine.
    """
    # The runtimes are imported here, after the checks: 60 MB and 0.4 s at the least.
    if current.models.runtime == "onnx":
        from firmware.drivers import onnx_engine  # noqa: PLC0415

        wanted = models.chosen(folder, current, frame_px)
        return Loaded(onnx_engine.load(folder, *wanted), wanted, None)
    try:
        from firmware.drivers import gpu, gpu_sampler, tensorrt_engine  # noqa: PLC0415
    except ImportError as error:
        raise EngineError(
            "pycuda cannot be imported, which engines on the GPU need",
            remedy='install it (requirements/jetson.txt), or set [models] runtime = "onnx"',
        ) from error
    folder = engine_file.variant(folder)
    wanted = models.chosen(folder, current, frame_px)
    there = gpu.open_gpu()
    engines = tensorrt_engine.load(there, folder, *wanted)
    return Loaded(engines, wanted, gpu_sampler.GpuSampler(there, *frame_px))


def open_source(current: Settings) -> FrameSource:
    """The source that `[source] uri` names.

    Raises:
        CameraError: it is not there, or gives no frames that the sensor can use.
    """
    asked = current.source
    try:
        source = _source(asked)
    except ImportError as error:
        raise CameraError(
            f"the library for {asked.uri} cannot be imported",
            remedy="install python3-picamera2 (picamera), or jetson-utils and pycuda (csi, v4l2, "
            "file), or name a camera such as /dev/video0",
        ) from error
    log(
        "camera_opened",
        width=source.width_px,
        height=source.height_px,
        frames_per_s=round(source.frames_per_s),
    )
    return source


def _source(asked: Source) -> FrameSource:
    if asked.uri.startswith("/dev/"):
        from firmware.drivers.v4l2_camera import V4L2Camera  # noqa: PLC0415

        return V4L2Camera(asked)
    if asked.uri.startswith("picamera://"):
        from firmware.drivers.picamera_camera import PicameraCamera  # noqa: PLC0415

        return PicameraCamera(asked)
    if asked.uri.startswith(("csi://", "v4l2://", "file://")):
        from firmware.drivers.jetson_camera import JetsonCamera  # noqa: PLC0415

        return JetsonCamera(asked)
    if "://" in asked.uri:
        raise CameraError(
            f"this sensor has no driver for {asked.uri.partition('://')[0]}:// sources",
            remedy="set [source] uri to a camera such as /dev/video0 or to a video file; a camera "
            "in the network cannot be seen by a process that has none",
        )
    from firmware.drivers.video_file import VideoFile  # noqa: PLC0415

    return VideoFile(Path(asked.uri), realtime=asked.realtime)


if __name__ == "__main__":
    sys.exit(main())
