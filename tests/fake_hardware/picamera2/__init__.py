"""Stands in for picamera2: a camera with a few buffers, each filled when it is asked for."""

from __future__ import annotations

from concurrent.futures import TimeoutError as NoFrame
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from picamera2 import CompletedRequest as _CompletedRequest
    from picamera2 import Job as _Job
    from picamera2 import MappedArray as _MappedArray
    from picamera2 import Picamera2 as _Picamera2

    _FrameJob = _Job["_CompletedRequest"]
else:
    _CompletedRequest = _FrameJob = _Job = _MappedArray = _Picamera2 = object

_T = TypeVar("_T")


class CompletedRequest(_CompletedRequest):
    def __init__(self, camera: Picamera2, buffer: NDArray[np.uint8]) -> None:
        self.camera, self.buffer = camera, buffer

    def release(self) -> None:
        self.camera.returned.append(bool(self.buffer.any()))
        self.camera.buffers.append(self.buffer)


class Job(_FrameJob):
    def __init__(self, request: CompletedRequest | None) -> None:
        self.request = request


class MappedArray(_MappedArray):
    def __init__(self, request: Any, stream: str, reshape: bool = True, write: bool = True) -> None:
        assert stream == "main" and reshape
        self._request, self._write = request, write

    def __enter__(self) -> MappedArray:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        pass

    @property
    def array(self) -> NDArray[np.uint8]:
        buffer: NDArray[np.uint8] = self._request.buffer
        buffer.flags.writeable = self._write
        return buffer


class Picamera2(_Picamera2):
    """Gives frames whose every byte is their number, from 1 on.

    Attributes:
        present, size_px: what the next camera that is opened is like; set on the class.
        left: gives so many frames more, and then nothing for as long as one waits.
        returned: whether each buffer that came back still held something.
    """

    present = True
    size_px: tuple[int, int] | None = None

    def __init__(self, camera_num: int = 0) -> None:
        if not self.present:
            raise IndexError("list index out of range")
        self.number = camera_num
        self.left = 1 << 30
        self.taken = 0
        self.running = False
        self.closed = 0
        self.buffers: list[NDArray[np.uint8]] = []
        self.returned: list[bool] = []
        self.configuration: dict[str, Any] = {}

    def create_video_configuration(
        self,
        main: dict[str, Any] = {},  # noqa: B006  the vendor's
        *,
        buffer_count: int = 6,
        controls: dict[str, Any] = {},  # noqa: B006
        queue: bool = True,
    ) -> dict[str, Any]:
        return {"main": main, "buffer_count": buffer_count, "controls": controls, "queue": queue}

    def configure(self, camera_config: dict[str, Any]) -> None:
        if self.size_px:
            camera_config["main"]["size"] = self.size_px
        self.configuration = camera_config
        width, height = camera_config["main"]["size"]
        self.buffers = [
            np.zeros((height, width, 3), np.uint8) for _ in range(camera_config["buffer_count"])
        ]

    def camera_configuration(self) -> dict[str, Any]:
        return self.configuration

    def start(self) -> None:
        self.running = True

    def capture_request(self, wait: Literal[False]) -> Job:
        assert self.running
        if not self.left:
            return Job(None)
        self.left -= 1
        self.taken += 1
        buffer = self.buffers.pop(0)
        buffer.flags.writeable = True
        buffer.fill(self.taken % 256)
        return Job(CompletedRequest(self, buffer))

    def wait(self, job: _Job[_T], timeout: float | None = None) -> _T:
        assert timeout and isinstance(job, Job)
        if job.request is None:
            raise NoFrame
        given: Any = job.request
        return given  # type: ignore[no-any-return]

    def close(self) -> None:
        self.closed += 1
        self.running = False
