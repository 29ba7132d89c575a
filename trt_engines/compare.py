"""`python -m trt_engines compare`: models of another precision against fp32, on pictures of faces.

Both go through the sensor's own path, detector and face chips included: a decision is what gender
and which expression is likelier, the age bucket, and whether a face is seen at all. Besides, each
output is compared on the same inputs. fp16 is computed as a GPU would (trt_engines/rounded.py).
Ends with status 1 when more than 0.5 % of the genders or expressions changed, or the mean error of
the age by more than 0.05 years.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware import engine_file
from firmware.engine_file import PRECISION, Precision
from firmware.errors import ConfigError
from firmware.settings import Settings
from firmware.vision import memory, models
from firmware.vision.engine import Engine
from firmware.vision.models import Model
from firmware.vision.pipeline import BUFFERS
from firmware.vision.sampling import Sampler
from hil.accuracy import labelled
from hil.accuracy.faces import buckets
from hil.accuracy.stills import FRAME_PX, Opener, Visitor, on_cpu
from trt_engines.figures import merge

MOST_CHANGED = 0.005
MOST_YEARS = 0.05
RECORDED = 100
"""Pictures whose inputs and outputs are kept, to compare outputs on the same inputs."""

Floats = NDArray[np.float32]


class Picture(NamedTuple):
    """A picture with a face in its middle; `enlarged` before it is shown; age if it is known."""

    path: Path
    enlarged: int = 1
    age: float = np.nan
    weight: float = 1.0


class Run(NamedTuple):
    """What went into an engine in one run, and what came out, by the outputs' names."""

    name: str
    input: Floats
    outputs: dict[str, Floats]


class Answers(NamedTuple):
    """What was answered about each picture; NaN where no face was seen."""

    age: Floats
    gender: Floats
    expression: Floats
    runs: list[Run]

    @property
    def seen(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.age)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="pictures of faces: labelled, as `python -m hil.accuracy` takes them, or any folder",
    )
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default=PRECISION)
    parser.add_argument("--limit", type=int, default=0, help="so many of each set; 0: all")
    parser.set_defaults(run=main)


def main(chosen: argparse.Namespace) -> int:
    precision: Precision = chosen.precision
    cv2.setNumThreads(1)
    shown = pictures(chosen.data, chosen.limit)
    print(f"compare: {len(shown)} pictures, fp32 then {precision}", flush=True)
    reference = look(models.directory(), shown)
    runtime, folder = candidate(precision)
    found = look(folder, shown)
    named = {"precision": precision, "runtime": runtime}
    rows = parity(shown, reference, found, again(folder, reference.runs), named)
    for row in rows:
        _show(row)
    print(f"compare: report → {merge(parity=rows)}")
    wrong = [row["model"] for row in rows if not row["within_limits"]]
    if wrong:
        print(f"compare: {', '.join(wrong)} changed more than is allowed")
    return 1 if wrong else 0


def candidate(precision: Precision) -> tuple[str, Path]:
    """How models of this precision are computed here, and the folder of files for it."""
    folder = engine_file.variant(models.directory(), precision)
    if precision != "fp16":
        return "onnxruntime", folder
    from trt_engines import typed  # noqa: PLC0415  onnx is slow to load: only where it is needed
    from trt_engines.rounded import rounded  # noqa: PLC0415

    target = folder / "rounded"
    typed.rewrite(folder, target, lambda network, _: rounded(network))
    return "onnxruntime, every tensor rounded to fp16", target


def pictures(data: Path, limit: int = 0) -> list[Picture]:
    """Labelled faces below `data`, or else every picture there.

    Raises:
        ConfigError: there are none, or a label is wrong.
    """
    if (data / "age_gender" / "index.csv").is_file():
        sets = labelled.load(data, limit)
        people = [Picture(p.path, 1, p.age, p.natural_weight) for p in sets.people]
        # 48 pixels wide: shown at twice that, as `hil.accuracy` does.
        return people + [Picture(shown.path, 2) for shown in sets.shown]
    paths = [p for p in sorted(data.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not paths:
        raise ConfigError(f"there are no pictures in {data}", remedy="name a folder of jpg or png")
    return [Picture(path) for path in paths[: limit or None]]


def look(
    folder: Path, shown: Sequence[Picture], opener: Opener = on_cpu, *, every: int = 0
) -> Answers:
    """Show every picture to the models of `folder`.

    Args:
        every: keep each so many runs of an engine; 0: those of some `RECORDED` pictures.

    Raises:
        EngineError: there are no such models, or one fails.
    """
    runs: list[Run] = []
    every = every or max(1, len(shown) // RECORDED)

    def recording(folder: Path, chosen: Sequence[Model]) -> tuple[Mapping[str, Engine], Sampler]:
        engines, sampler = opener(folder, chosen)
        return {m.name: _Recorder(engines[m.name], m, runs, every) for m in chosen}, sampler

    age, gender, expression = (np.full((len(shown), k), np.nan, np.float32) for k in (1, 2, 7))
    visitor = Visitor(folder, Settings(), recording)
    try:
        for row, picture in enumerate(shown):
            pixels = labelled.read(picture.path)
            if picture.enlarged > 1:
                side = picture.enlarged
                larger = cv2.resize(pixels, None, fx=side, fy=side, interpolation=cv2.INTER_LINEAR)
                pixels = np.asarray(larger, np.uint8)
            answers = visitor.look(pixels)
            if answers:
                age[row] = answers["age"][:1]
                gender[row] = answers["gender"]
                expression[row] = answers["expression"]
    finally:
        visitor.close()
    return Answers(age[:, 0], gender, expression, runs)


def again(folder: Path, runs: Sequence[Run], opener: Opener = on_cpu) -> list[Run]:
    """The same inputs through the models of `folder`."""
    chosen = models.chosen(folder, Settings(), FRAME_PX)
    engines, _ = opener(folder, chosen)
    given: list[Run] = []
    recorders = {m.name: _Recorder(engines[m.name], m, given, 1) for m in chosen}
    try:
        for run in runs:
            recorder = recorders[run.name]
            recorder.own_input[:] = run.input
            recorder.run()
    finally:
        for recorder in recorders.values():
            recorder.close()
        for owner in BUFFERS:
            memory.release(owner)
    return given


def parity(
    shown: Sequence[Picture],
    reference: Answers,
    found: Answers,
    repeated: Sequence[Run],
    named: Mapping[str, str],
) -> list[dict[str, Any]]:
    """One row for each model: its outputs on the same inputs, and its decisions on all pictures.

    Args:
        repeated: the reference's runs `again`, by what is compared with it.
        named: what each row says of that: its precision and runtime.
    """
    both = reference.seen & found.seen
    changed = {
        "detector": reference.seen != found.seen,
        "age": both & (buckets(_f64(reference.age)) != buckets(_f64(found.age))),
        "gender": both & (reference.gender.argmax(1) != found.gender.argmax(1)),
        "expression": both & (reference.expression.argmax(1) != found.expression.argmax(1)),
    }
    errors = _errors(shown, reference, found, both)
    rows: list[dict[str, Any]] = []
    for name, decisions in changed.items():
        count = int(decisions.sum())
        of = len(shown) if name == "detector" else int(both.sum())
        share = count / max(of, 1)
        within = share <= MOST_CHANGED or name not in ("gender", "expression")
        row = {
            "model": name,
            **named,
            "outputs": _differences(name, reference.runs, repeated),
            "pictures": of,
            "decisions_changed": count,
            "decisions_changed_share": round(share, 5),
        }
        if name == "age":
            row |= errors
            within = errors.get("mae_natural_change", 0.0) <= MOST_YEARS
        rows.append({**row, "within_limits": within})
    return rows


def _errors(
    shown: Sequence[Picture], reference: Answers, found: Answers, both: NDArray[np.bool_]
) -> dict[str, float]:
    """Mean errors of the age, where it is known; `natural` by the pictures' weights."""
    years = np.array([picture.age for picture in shown])
    known = both & ~np.isnan(years)
    if not known.any():
        return {}
    weight = np.array([picture.weight for picture in shown])
    figures: dict[str, float] = {}
    for kind, weights in (("natural", weight[known]), ("balanced", None)):
        before, after = (
            float(np.average(np.abs(_f64(answers.age)[known] - years[known]), weights=weights))
            for answers in (reference, found)
        )
        figures |= {
            f"mae_{kind}_fp32": round(before, 4),
            f"mae_{kind}": round(after, 4),
            f"mae_{kind}_change": round(abs(after - before), 4),
        }
    return figures


def _differences(
    name: str, before: Sequence[Run], after: Sequence[Run]
) -> dict[str, dict[str, float]]:
    """Largest and mean difference of each output of one model."""
    found: dict[str, list[Floats]] = {}
    for one, other in zip(before, after, strict=True):
        if one.name == name:
            for output, values in one.outputs.items():
                found.setdefault(output, []).append(np.abs(values - other.outputs[output]))
    return {
        output: {
            "max": float(max(each.max() for each in values)),
            "mean": float(np.mean([each.mean() for each in values])),
            "inputs": len(values),
        }
        for output, values in found.items()
    }


def _f64(values: Floats) -> NDArray[np.float64]:
    """Faces that were not seen are of no bucket that differs: -1."""
    return np.nan_to_num(values.astype(np.float64), nan=-1.0)


def _show(row: dict[str, Any]) -> None:
    share = row["decisions_changed_share"]
    print(
        f"{row['model']:11} {row['decisions_changed']} of {row['pictures']} changed ({share:.2%})"
    )
    for name, each in row["outputs"].items():
        print(
            f"    {name:11} max {each['max']:.2e} mean {each['mean']:.2e} ({each['inputs']} runs)"
        )
    for name, value in row.items():
        if name.startswith("mae"):
            print(f"    {name:26} {value:.4f}")


class _Recorder:
    """An engine that also keeps every n-th run."""

    def __init__(self, engine: Engine, model: Model, runs: list[Run], every: int) -> None:
        assert isinstance(engine.input, np.ndarray), "inputs on a GPU cannot be recorded"
        self.name = engine.name
        self.own_input: Floats = engine.input
        self.outputs = engine.outputs
        self._engine, self._runs, self._every = engine, runs, every
        self._names = tuple(model.outputs)
        self._count = 0

    @property
    def input(self) -> Floats:
        return self.own_input

    def run(self, rows: int = 0) -> None:
        self._engine.run(rows)
        if self._count % self._every == 0:
            named = zip(self._names, self.outputs, strict=True)
            outputs = {name: output.copy() for name, output in named}
            self._runs.append(Run(self.name, self.own_input.copy(), outputs))
        self._count += 1

    def scrub(self) -> None:
        self._engine.scrub()

    def close(self) -> None:
        self._engine.close()
