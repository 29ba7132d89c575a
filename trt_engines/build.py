"""`python -m trt_engines build`: the typed ONNX files, and the engines of one target from them.

The typed files go to a folder beside the converted models (<models>/fp16); engines for this machine
to where the sensor looks for them (<models>/fp16/engines), those for another target to
build/engines/<target>. TensorRT builds only on the GPU that an engine is for; for the targets of
TensorRT-RTX (pip install tensorrt-rtx-cu13) no GPU is needed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from firmware import engine_file
from firmware.drivers import tensorrt_builder
from firmware.engine_building import Line
from firmware.engine_file import PRECISION, EngineFile, Precision
from firmware.vision import models
from trt_engines import manifests, targets
from trt_engines.acquire import locked_cache
from trt_engines.figures import merge


def options(parser: argparse.ArgumentParser) -> None:
    rows = "; ".join(f"{name}: {target.title}" for name, target in targets.load().items())
    parser.add_argument(
        "--target",
        action="append",
        metavar="NAME",
        help=f"may be repeated; {rows}; this-machine (default): the GPU that is here",
    )
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default=PRECISION)
    parser.add_argument("--onnx-only", action="store_true", help="write the typed ONNX files only")
    parser.add_argument("--out", type=Path, metavar="DIR", help="put engines there instead")
    parser.set_defaults(run=main)


def main(chosen: argparse.Namespace) -> int:
    precision: Precision = chosen.precision
    prepare(precision, tuple(chosen.manifest))
    if not chosen.onnx_only:
        for target in chosen.target or [targets.THIS_MACHINE]:
            built = engines(target, precision, chosen.out)
            print(f"build: report → {merge(engines=[row(each) for each in built])}")
    return 0


def prepare(precision: Precision, overrides: tuple[Path, ...] = ()) -> None:
    """Type the converted models; those in int8 are written by `quantise`, which needs pictures.

    Raises:
        EngineError: there are no converted models, or one cannot be typed.
    """
    from trt_engines import typed  # noqa: PLC0415  onnx is slow to load: only where it is needed

    if precision != "int8":
        print(f"build: {precision} models → {engine_file.variant(models.directory(), precision)}")
        with locked_cache():
            typed.write(models.directory(), precision, manifests.load(overrides), say=True)


def engines(target: str, precision: Precision, out: Path | None = None) -> list[EngineFile]:
    """Build the engines of all typed models for `target` into `out`, or where they belong.

    Raises:
        EngineError: there are no typed models, or this machine builds nothing for `target`.
    """
    folder = engine_file.variant(models.directory(), precision)
    wanted = models.index(folder).models
    machine = targets.machine(target)
    if out is None and target != targets.THIS_MACHINE:
        out = Path("build") / "engines" / target / precision
    where = out or folder / "engines"
    print(f"build: {target} with {machine.builder} {machine.builder_version} → {where}")
    built = []
    for model in wanted:
        line = Line(model)
        about = tensorrt_builder.build(
            folder,
            model,
            machine,
            precision=precision,
            target=target,
            engine=where / engine_file.path(folder, model).name,
            progress=line.show,
        )
        line.end(about)
        built.append(about)
    return built


def row(about: EngineFile) -> dict[str, Any]:
    """One engine in the report."""
    ((_, *sides),) = about.inputs.values()
    return {
        "model": about.model,
        "target": about.target,
        "builder": about.builder,
        "builder_version": about.builder_version,
        "precision": about.precision,
        "bytes": about.bytes,
        "build_s": about.build_s,
        "input": sides,
        "batch": [about.batch.min, about.batch.opt, about.batch.max],
    }
