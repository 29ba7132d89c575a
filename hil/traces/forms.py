"""Every form that a visitor's pixels take on their way to a record, computed a second time here.

The same clip goes through the same pipeline in this process. What then stands in each registered
buffer, and what the decoder and the engines hold between them, are the needles: if vision kept any
of it, in whatever block, pool, cache or stack, it would be these bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # or this process itself would write files

import av
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper

from firmware.drivers import onnx_engine
from firmware.drivers.video_file import VideoFile
from firmware.record import Interaction
from firmware.settings import Settings
from firmware.vision import memory, models, wiping
from firmware.vision.models import Model
from firmware.vision.pipeline import Pipeline
from hil.traces.needles import Index

EMPTY = "empty scene"
"""Kind of what is no trace: indexed first, so that no other kind claims it."""
_LAYERS = (
    *("Conv", "FusedConv", "Relu", "Add", "Mul", "Clip", "Pad", "Gemm", "FusedGemm", "Flatten"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "ReorderInput", "ReorderOutput"),
)
_LAYERS_OF = {"detector": 12}
"""How many layers are computed; of a small model all, of which some outlast a run."""
_LARGE = 4096
"""Bytes from which a buffer holds a picture, and not a few numbers."""
_EVERY, _MOST_WINDOWS = 3, 100_000
_FACES = ("detector.found_boxes", "detector.found_landmarks", "detector.found_scores")


class Turn(NamedTuple):
    """What one turn of the loop did.

    Attributes:
        frame: its index.
        ended: interactions that ended with it.
        followed: faces that are still followed after it.
    """

    frame: int
    ended: list[Interaction]
    followed: int


class Twin:
    """The pipeline of the vision process, on the same clip, in this process.

    Raises:
        CameraError, EngineError: as vision would raise them.
    """

    def __init__(self, settings: Settings) -> None:
        folder = models.directory(settings.models.directory)
        self._source = VideoFile(Path(settings.source.uri), realtime=False)
        frame_px = (self._source.width_px, self._source.height_px)
        wanted = models.chosen(folder, settings, frame_px)
        self.engines = onnx_engine.load(folder, *wanted)
        self.model_set = models.model_set(wanted)
        self.pipeline = Pipeline(
            settings, self.engines, model_set=self.model_set, frame_px=frame_px
        )
        self._layers = {model.name: Layers(folder, model) for model in wanted}
        self._empty: dict[str, NDArray[Any]] = {}

    def turns(self) -> Iterator[Turn]:
        """Play the clip to its end."""
        frame = self.pipeline.frame
        while self._source.read(frame):
            ended = self.pipeline.turn()
            yield Turn(frame.index, ended, len(self.pipeline.tracks))
            if self.pipeline.parted:  # as vision does, so that both go on from the same buffers
                wiping.of_leavers(self.engines)
                if not self.pipeline.tracks:
                    memory.wipe()

    def close(self) -> None:
        self._source.close()
        self.pipeline.close()
        for engine in self.engines.values():
            engine.close()

    def index_empty(self, index: Index) -> None:
        """What stands in buffers now, and what engines make of zeros and of the wall that is seen
        beside every head, is no trace of anybody."""
        self._empty = {name: values.copy() for name, values in memory.buffers()}
        for values in self._empty.values():
            add_all(index, values)
        wall_rgb = self.pipeline.frame.pixels[0, 0, ::-1].reshape(1, 3, 1, 1)
        for name, engine in self.engines.items():
            self._empty |= self._layers[name].of(engine.input)
            blank = np.zeros_like(engine.input)
            for nobody in (engine.input, blank, blank + wall_rgb):
                for values in self._layers[name].of(nobody).values():
                    add_all(index, values)

    def index(self, index: Index, *, deep: bool) -> None:
        """Add all that stands in the buffers now and not in the empty scene.

        Times and counts are left out: they are the same for whoever stays as long.

        Args:
            deep: also what the engines made of it on the way. It is overwritten by every run, so
                that it need not be looked for after every frame.
        """
        now = {name: values for name, values in memory.buffers() if values.dtype != np.int64}
        for name in _FACES:
            index.add("numbers", now[name].astype(np.float64), words=1, step=8, least=6)
        for name, engine in self.engines.items() if deep else ():
            now |= self._layers[name].of(engine.input)
        for name, values in now.items():
            add_new(index, name.partition(":")[0], values, self._empty[name])

    def excuse(self, index: Index) -> None:
        """What the detector makes of the picture that it sees now is no trace of who has left it:
        where a layer sees a single pixel of a head, another head may have that pixel too."""
        for values in self._layers["detector"].of(self.engines["detector"].input).values():
            index.recast(EMPTY, values, words=_words(values), step=values.itemsize)


class Layers:
    """What the layers of a model make of its engine's input, as the runtime computes them.

    The runtime folds scaling into weights, joins layers and orders channels in blocks. A layer of
    the file is therefore not, to the last bit, what ever stood in memory: the layers asked for are
    those of the graph that the runtime itself made of the file.
    """

    def __init__(self, folder: Path, model: Model) -> None:
        with tempfile.TemporaryDirectory() as place:
            optimised = Path(place) / model.file
            options = self._options()
            options.optimized_model_filepath = str(optimised)
            onnxruntime.InferenceSession(str(folder / model.file), options)
            network = onnx.load(optimised)
        graph = network.graph
        made = [node.output[0] for node in graph.node if node.op_type in _LAYERS]
        del graph.output[:]
        graph.output.extend(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in made[: _LAYERS_OF.get(model.name)]
        )
        options = self._options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._kind = f"{model.name}_engine.activations"
        self._input = graph.input[0].name
        self._session = onnxruntime.InferenceSession(network.SerializeToString(), options)

    def of(self, given: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Each layer's result; what stands after the colon in a name is the layer."""
        results = self._session.run(None, {self._input: given})
        return {f"{self._kind}:{layer}": result for layer, result in enumerate(results)}

    @staticmethod
    def _options() -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        return options


class Coded:
    """The clip as the decoder sees it: the bitstream of each frame, and its YUV planes."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path))
        self._container.streams.video[0].thread_count = 1
        self._frames = self._decoded()
        self._at = -1

    def _decoded(self) -> Iterator[tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]]:
        for packet in self._container.demux(video=0):
            for frame in packet.decode():
                planes = [
                    np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
                    for plane in frame.planes
                ]
                yield np.frombuffer(bytes(packet), np.uint8), planes

    def index_empty(self, index: Index) -> None:
        """The first frame shows the empty scene, which is no trace of anybody."""
        if self._at < 0:
            self._packet, self._empty = self._frame(0)
        for plane in self._empty:
            add_all(index, plane)
        # What comes after a visitor in the stream is the empty scene again, moved by some bits.
        bits = np.unpackbits(self._packet)
        for shift in range(8):
            index.add(EMPTY, np.packbits(bits[shift:]), words=3, step=1)

    def index(self, index: Index, at: int) -> None:
        """Add the forms of frame `at`; it may be asked for again, but none before it."""
        packet, planes = self._frame(at)
        # Compressed noise has hardly a byte twice; the flat scene's coding repeats itself.
        index.add("bitstream", packet, words=3, step=_EVERY, least=18)
        for plane, before in zip(planes, self._empty, strict=True):
            add_new(index, "yuv", plane, before)

    def _frame(self, at: int) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        while self._at < at:
            self._last = next(self._frames)
            self._at += 1
        return self._last

    def close(self) -> None:
        self._container.close()


def add_all(index: Index, values: NDArray[Any]) -> None:
    """Every window of what is no trace."""
    index.add(EMPTY, values, words=_words(values), step=values.itemsize)


def add_new(index: Index, kind: str, values: NDArray[Any], before: NDArray[Any]) -> None:
    """Windows of `values` that differ from what stood there before, from end to end."""
    words = _words(values)
    length = 8 * words // values.itemsize
    flat, differs = values.reshape(-1), (values != before).reshape(-1)
    # An odd distance, so that windows come to stand at every place in an 8-byte word that a copy's
    # elements can have.
    starts = np.arange(0, flat.size - length + 1, _EVERY if values.nbytes >= _LARGE else 1)
    row = values[0].size
    if values.nbytes < _LARGE and row >= length:  # not the end of one row and the next one's begin
        starts = starts[starts % row + length <= row]
    for element in (0, length - 1, length // 3, 2 * length // 3):
        starts = starts[differs[starts + element]]
    starts = starts[:: (starts.size // _MOST_WINDOWS) | 1]
    windows = flat[starts[:, None] + np.arange(length)]
    if values.dtype == np.float32:  # zeros, or one value over and over, are no canary
        ordered = np.sort(windows, axis=1)
        distinct = 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)
        telling = np.count_nonzero(windows, axis=1), distinct
        windows = windows[np.minimum(*telling) >= max(2, length - 1)]
    index.add(kind, windows, words=words, step=8 * words)


def _words(values: NDArray[Any]) -> int:
    """Length of windows: a few numbers are looked for one by one, pictures in longer runs."""
    if values.nbytes < _LARGE:
        return 1
    return 2 if values.itemsize == 1 else 3
