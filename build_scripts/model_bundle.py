"""A set of models, with or without engines, that is put onto devices by itself; see
`firmware/model_sets.py`."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from build_scripts import tools
from build_scripts.errors import BuildError
from build_scripts.image import disk
from build_scripts.keys import Keys
from firmware import model_sets
from firmware.engine_file import variant
from firmware.errors import SensorError, UpdateError
from firmware.update.version import parse
from firmware.vision import models


def build(source: Path, version: str, keys: Keys, out: Path, *, engines: bool = False) -> Path:
    """Write `flow-models-<version>.flowmodels` into a folder: a tar, its header first.

    Args:
        source: folder of converted models.
        engines: with the typed models and the engines that were built of them, all for the boards
            that these fit.

    Raises:
        BuildError: models are missing or altered, or the version has no order.
    """
    try:
        parse(version)
        names = [models.INDEX]
        for model in models.index(source).models:
            with models.opened(source, model):
                names.append(model.file)
    except (SensorError, UpdateError) as error:
        raise BuildError(error.problem, remedy=error.remedy) from error
    if engines:
        found = sorted(path for path in variant(source).rglob("*") if path.is_file())
        if not any(path.suffix == ".engine" for path in found):
            raise BuildError(
                f"there are no engines below {source}",
                remedy="build them on a device of the same kind: flow-sensor build-engines",
            )
        names += [str(path.relative_to(source)) for path in found]
    text = model_sets.text(version, {name: disk.digest(source / name) for name in names})
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"flow-models-{version}.flowmodels"
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, model_sets.HEADER, text + b"--\n" + keys.sign(text).encode("ascii"))
        for name in sorted(names):
            _add(archive, name, (source / name).read_bytes())
    return target


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), tools.EPOCH, 0o644
    archive.addfile(entry, io.BytesIO(content))
