"""A run of an engine, recorded once and launched again as one: CUDA graphs.

pycuda has no calls for them, so the driver's library is asked itself. Names and numbers are those
of cuda.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from firmware.errors import EngineError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may do what they like


class Graph:
    """What `enqueue` puts on a stream, without running it.

    Args:
        stream: handle of a stream that is not the default one and has nothing to do.
        enqueue: only queues work, on that stream.

    Raises:
        EngineError: something in it cannot be recorded.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")
        self._stream = ctypes.c_void_p(stream)
        self._launchable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
        try:
            enqueue()
        finally:
            # Whatever happened, the stream must not stay in capture mode.
            ended = self._cuda.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        if ended:
            raise _failed("cuStreamEndCapture", ended)
        flags = ctypes.c_ulonglong(0)
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(self._launchable), graph, flags)
        self._call("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Queue it on its stream.

        Raises:
            EngineError: the GPU failed.
        """
        self._call("cuGraphLaunch", self._launchable, self._stream)

    def close(self) -> None:
        """Idempotent."""
        launchable, self._launchable = self._launchable, ctypes.c_void_p()
        if launchable.value:
            self._cuda.cuGraphExecDestroy(launchable)

    def _call(self, name: str, *arguments: object) -> None:
        if status := getattr(self._cuda, name)(*arguments):
            raise _failed(name, status)


def _failed(name: str, status: int) -> EngineError:
    return EngineError(
        f"{name} failed on the GPU (CUDA error {status})",
        remedy="restart the sensor; when it happens again, check NVIDIA's driver (dmesg)",
    )
