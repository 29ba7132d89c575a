"""`make gpu`: everything that a machine with an NVIDIA GPU can show → build/reports/engines.json.

On any machine: the kernels are compiled by nvcc where it is installed and run on the processor, the
engines of a GPU are built, and the drivers keep their contracts on a GPU made of ordinary memory.
Where there is an NVIDIA GPU: pycuda is built against its CUDA, and kernels, engines, the pipeline
on a clip and the wipe run on it; what it refuses is written down word for word.

Ends with status 0 when all of it passed, 1 when something failed, and 3 when all passed that can be
shown without a GPU and there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from firmware.drivers import gpu_kernels, tensorrt_vendor
from firmware.errors import EngineError, SensorError
from hil import report
from trt_engines import acquire, build
from trt_engines.compare import pictures
from trt_engines.figures import merge

NO_GPU = 3
_FOLDER = report.ROOT / "build" / "gpu"
_CAPABILITIES = ((7, 5), (8, 6), (8, 7), (8, 9), (9, 0))
"""Desk GPUs since 2018, and the Orin (8.7)."""
_TESTS = (
    "tests/unit/test_gpu_kernels.py",
    "tests/unit/test_jetson_camera.py",
    "tests/unit/test_picamera_camera.py",
    "tests/contract/test_vendor_stubs.py",
    "tests/integration/test_tensorrt_engine.py",
    "tests/integration/test_gpu_pipeline.py",
)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hil.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gpu-only", action="store_true", help="leave out what needs no GPU")
    parser.add_argument("--data", type=Path, help="pictures of faces; else the demo's portraits")
    parser.add_argument("--limit", type=int, default=200, help="so many of each set (200)")
    chosen = parser.parse_args(words)
    passed = chosen.gpu_only or without_gpu()
    try:
        capability = tensorrt_vendor.compute_capability()
    except EngineError as error:
        merge(gpu=None)
        print(f"gpu: NO GPU: {error.problem}. What needs one was not run.", file=sys.stderr)
        return NO_GPU if passed else 1
    try:
        return 0 if on_gpu(capability, chosen.data, chosen.limit) and passed else 1
    except SensorError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return error.exit_code


def without_gpu() -> bool:
    """Whether all passed that can be shown on a processor."""
    compiled = _compile()
    built = _say("engines for rtx-sm86", "-m", "trt_engines", "build", "--target", "rtx-sm86")
    tested = _say("drivers without hardware", "-m", "pytest", "-q", *_TESTS)
    return compiled and built and tested


def on_gpu(capability: str, data: Path | None, limit: int) -> bool:
    """All checks on the GPU, into the report; False when one failed.

    Args:
        data: folder with pictures of faces, so many of each set; None: the demo's portraits.

    Raises:
        SensorError: there is no CUDA compiler, or pycuda cannot be built.
    """
    major, minor = capability.split(".")
    gpu_kernels.build((int(major), int(minor)))
    refused = build_pycuda()
    if refused:
        words = [{"check": "pycuda", "words": refused}]
        merge(gpu={"device": "", "ran": [], "refused": words, "bench": []})
        print(f"gpu: pycuda cannot be built: {refused}", file=sys.stderr)
        return False
    from firmware.drivers.gpu import open_gpu  # noqa: PLC0415  needs pycuda
    from hil.gpu.checks import Bench, everything  # noqa: PLC0415

    build.prepare("fp16")
    faces = pictures(data or acquire.portrait("astronaut").parent, limit)
    bench = Bench(open_gpu(), _clip(), faces)
    everything(bench)
    tensorrt = any(done["check"] == "engines" for done in bench.ran)
    timed = tensorrt and _say("latencies", "-m", "trt_engines", "bench")
    known = json.loads((report.REPORTS / "engines.json").read_text()) if timed else {"bench": []}
    row = {
        "device": bench.gpu.name,
        "compute_capability": capability,
        "ran": bench.ran,
        "refused": bench.refused,
        "bench": known["bench"],
    }
    print(f"gpu: report → {merge(gpu=row)}")
    return not bench.wrong and timed == tensorrt


def build_pycuda() -> str:
    """Build the locked pycuda into this environment unless it is there; the compiler's last words
    when it cannot be."""
    try:
        import pycuda.driver  # noqa: F401, PLC0415
    except ImportError:
        lock = (report.ROOT / "requirements" / "jetson.txt").read_text()
        (version,) = re.findall(r"^pycuda==(\S+)", lock, re.MULTILINE)
        print(f"gpu: building pycuda {version} (minutes)", flush=True)
        environment = dict(os.environ, PATH=f"{os.environ['PATH']}:/usr/local/cuda/bin")
        command = [sys.executable, "-m", "pip", "install", f"pycuda=={version}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr or done.stdout)[-2000:]
    return ""


def _compile() -> bool:
    """Whether nvcc compiles the kernels for every kind of GPU; True where there is no nvcc."""
    if not (shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").exists()):
        print("gpu: no nvcc here: the kernels are not compiled for GPUs, only for this processor")
        return True
    try:
        for capability in _CAPABILITIES:
            target = gpu_kernels.build(capability)
            print(
                f"gpu: kernels for {capability[0]}.{capability[1]}: {target.stat().st_size} bytes"
            )
    except EngineError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return False
    return True


def _say(what: str, *words: str) -> bool:
    print(f"gpu: {what}", flush=True)
    return subprocess.run([sys.executable, *words], cwd=report.ROOT, check=False).returncode == 0


def _clip() -> Path:
    """Four visitors, in 720p."""
    from hil.scenes.render import Scene  # noqa: PLC0415
    from hil.scenes.script import STANDARD, load  # noqa: PLC0415
    from hil.scenes.source import write_video  # noqa: PLC0415

    _FOLDER.mkdir(parents=True, exist_ok=True)
    path = _FOLDER / "four_visitors.mp4"
    write_video(Scene(load(STANDARD / "four_visitors.scene")), path)
    return path


if __name__ == "__main__":
    sys.exit(main())
