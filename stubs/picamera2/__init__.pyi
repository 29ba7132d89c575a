"""picamera2 0.3.38: read from picamera2/picamera2.py, request.py and job.py of its source archive.

Only what firmware/drivers uses. "RGB888" is libcamera's name for bytes in the order B, G, R.
"""

from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T")

class Job(Generic[_T]): ...

class CompletedRequest:
    def release(self) -> None: ...

class MappedArray:
    def __init__(
        self, request: CompletedRequest, stream: str, reshape: bool = True, write: bool = True
    ) -> None: ...
    def __enter__(self) -> MappedArray: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None: ...
    @property
    def array(self) -> NDArray[np.uint8]: ...

class Picamera2:
    def __init__(self, camera_num: int = 0) -> None: ...
    def create_video_configuration(
        self,
        main: dict[str, Any] = {},
        *,
        buffer_count: int = 6,
        controls: dict[str, Any] = {},
        queue: bool = True,
    ) -> dict[str, Any]: ...
    def configure(self, camera_config: dict[str, Any]) -> None: ...
    def camera_configuration(self) -> dict[str, Any]: ...
    def start(self) -> None: ...
    def capture_request(self, wait: Literal[False]) -> Job[CompletedRequest]: ...
    def wait(self, job: Job[_T], timeout: float | None = None) -> _T: ...
    def close(self) -> None: ...
