"""The stubs in stubs/ say what the vendors' modules have: held against each that is installed here.

What stands in for a real module is held to the same. So mypy checks the drivers against the stubs,
and these tests the stubs against whatever is there.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from firmware.drivers import tensorrt_vendor
from firmware.errors import EngineError
from hil.report import ROOT
from tests import fake_hardware
from tests.integration.gpu_bench import LIBRARY

STUBS = {
    "pycuda.driver": "pycuda/driver.pyi",
    "tensorrt": "tensorrt/__init__.pyi",
    "jetson_utils": "jetson_utils/__init__.pyi",
    "picamera2": "picamera2/__init__.pyi",
}


def modules() -> Iterator[Any]:
    """Stub and module: each that stands in, and each real one that can be imported."""
    for name in STUBS:
        yield pytest.param(name, importlib.import_module(f"tests.fake_hardware.{name}"), id=name)
        try:
            real = importlib.import_module(name)
        except ImportError:
            continue
        if "fake_hardware" not in str(real.__file__):
            yield pytest.param(name, real, id=f"the real {name}")
    try:
        vendor = tensorrt_vendor.vendor("tensorrt_rtx")
    except EngineError:
        return
    yield pytest.param("tensorrt", vendor.module, id=f"the real tensorrt_rtx {vendor.version}")


def declared(name: str) -> Iterator[tuple[str, list[str]]]:
    """Dotted names in a stub, each with the names of its parameters, `self` left out."""
    tree = ast.parse((ROOT / "stubs" / STUBS[name]).read_text())

    def walk(nodes: list[ast.stmt], path: str) -> Iterator[tuple[str, list[str]]]:
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                yield f"{path}{node.name}", []
                yield from walk(node.body, f"{path}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                given = node.args
                names = [each.arg for each in (*given.args, *given.kwonlyargs)]
                yield f"{path}{node.name}", [each for each in names if each != "self"]

    yield from walk(tree.body, "")


def parameters(function: Any) -> list[set[str]]:
    """Names of the parameters of each overload, as the module itself gives them."""
    try:
        return [set(inspect.signature(function).parameters)]
    except (TypeError, ValueError):
        # pybind11 and Boost.Python write a signature into the docstring.
        text = inspect.getdoc(function) or ""
        return [
            {
                part.strip(" [").split(":")[0].split("=")[0].rstrip(" ]")
                for part in re.sub(r"\(\w+\)", "", signature).split(",")
            }
            for signature in re.findall(r"\w+\((.*)\) ?->", text)
        ]


@pytest.mark.parametrize(("stub", "module"), list(modules()))
def test_a_module_has_what_its_stub_says(stub: str, module: ModuleType) -> None:
    seen = 0
    for path, names in declared(stub):
        found: Any = module
        if path.endswith("__init__"):
            continue
        for part in path.split("."):
            found = getattr(found, part, None)
        assert found is not None, f"{stub} has no {path}"
        offered = parameters(found) if callable(found) and names else []
        assert not offered or any(set(names) <= each for each in offered), (path, names, offered)
        seen += 1
    assert seen > 5


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """pycuda.driver, the real one where it is installed, on whatever GPU this process has."""
    fake_hardware.reset(LIBRARY)
    fake_hardware.visible(monkeypatch, LIBRARY)
    from firmware.drivers.gpu import open_gpu

    open_gpu()
    yield importlib.import_module("pycuda.driver")
    fake_hardware.reset(LIBRARY)


def test_memory_of_the_gpu_is_written_cleared_and_read(cuda: Any) -> None:
    given = np.arange(1000, dtype=np.uint8)
    there = cuda.mem_alloc(given.nbytes)
    assert int(there) % 256 == 0
    cuda.memcpy_htod(int(there), given)
    back = np.zeros_like(given)
    cuda.memcpy_dtoh(back, int(there))
    np.testing.assert_array_equal(back, given)
    cuda.memset_d8(int(there), 7, 500)
    cuda.Context.synchronize()
    cuda.memcpy_dtoh(back, int(there))
    assert (back[:500] == 7).all() and (back[500:] == given[500:]).all()
    there.free()


def test_a_stream_does_things_in_order_and_is_waited_for(cuda: Any) -> None:
    stream = cuda.Stream()
    assert isinstance(stream.handle, int)
    here = cuda.pagelocked_empty((64,), np.float32)
    here.fill(3)
    there = cuda.mem_alloc(here.nbytes)
    cuda.memset_d8_async(int(there), 1, here.nbytes, stream)
    cuda.memcpy_htod_async(int(there), here, stream)
    back = cuda.pagelocked_empty((64,), np.float32)
    cuda.memcpy_dtoh_async(back, int(there), stream)
    stream.synchronize()
    assert (back == 3).all()


def test_errors_are_of_kinds_that_the_driver_tells_apart(cuda: Any) -> None:
    assert issubclass(cuda.MemoryError, cuda.Error) and issubclass(cuda.LogicError, cuda.Error)
    with pytest.raises(cuda.MemoryError):
        cuda.mem_alloc(1 << 40)
    module = cuda.module_from_buffer(b"built in")
    with pytest.raises(cuda.Error):
        module.get_function("no_such_kernel")
