"""What engines can be built for: the rows of `targets.toml`, and whatever this machine is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from firmware.drivers import tensorrt_vendor
from firmware.engine_file import REBUILD, Builder, Machine
from firmware.errors import EngineError
from trt_engines.manifests import HERE, converted, tree

THIS_MACHINE = "this-machine"


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Machines on which the same engine runs.

    Attributes:
        version: of the builder, or how it begins; empty: any.
    """

    title: str
    builder: Builder
    compute_capability: str
    version: str = ""


def load() -> Mapping[str, Target]:
    path = HERE / "targets.toml"
    return converted(path, tree(path), dict[str, Target])


def machine(name: str) -> Machine:
    """What an engine for the target must be built with, which must be at hand here.

    Raises:
        EngineError: there is no such target, or its engines cannot be built on this machine.
    """
    if name == THIS_MACHINE:
        return tensorrt_vendor.machine()
    targets = load()
    if name not in targets:
        raise EngineError(
            f"there is no target {name!r}",
            remedy=f"use one of {', '.join((*targets, THIS_MACHINE))}",
        )
    target = targets[name]
    if target.builder == "tensorrt_rtx":
        return Machine(
            target.builder,
            tensorrt_vendor.vendor("tensorrt_rtx").version,
            target.compute_capability,
        )
    return _at_hand(name, target)


def _at_hand(name: str, target: Target) -> Machine:
    """This machine, when it is one of the target's: TensorRT times its kernels on the GPU itself.

    TensorRT-RTX is no way round: it knows no Jetson, and TensorRT loads none of its engines.
    """
    try:
        here = Machine(
            "tensorrt",
            tensorrt_vendor.vendor("tensorrt").version,
            tensorrt_vendor.compute_capability(),
        )
    except EngineError as error:
        raise _elsewhere(name, target, error.problem) from error
    if (
        not f"{here.builder_version}.".startswith(f"{target.version}.")
        or here.compute_capability != target.compute_capability
    ):
        found = f"here is {here.builder_version} and {here.compute_capability}"
        raise _elsewhere(name, target, found)
    return here


def _elsewhere(name: str, target: Target, found: str) -> EngineError:
    return EngineError(
        f"an engine for {name} is built by TensorRT {target.version} on a GPU of compute "
        f"capability {target.compute_capability} ({found})",
        remedy="write the typed models with `python -m trt_engines build --onnx-only`, take the "
        f"folder of models to the device, and {REBUILD.replace('this machine', 'it')}",
    )
