"""What a board without slots can be offered: sets of models, made by `build_scripts models`."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware.vision import models as converted
from hil import report
from hil.rigs.parts import Offer

_FOLDER = report.ROOT / "build" / "hil" / "models"
_KEYS = report.ROOT / "build" / "keys"  # development's, which that command makes


def release() -> str:
    """What a board must know to take these: development's public key, as `signify` keeps it."""
    if not (_KEYS / "slot.key").exists():
        models()
    key = serialization.load_pem_private_key((_KEYS / "slot.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    raw = key.public_key().public_bytes_raw()
    return f"untrusted comment: release\n{base64.b64encode(b'Ed' + bytes(8) + raw).decode()}\n"


@functools.cache
def models() -> dict[str, Offer]:
    """`good models`, `models that do not load`, and `better models` than the good ones."""
    source = converted.directory()
    broken = _FOLDER / "broken"
    shutil.rmtree(_FOLDER, ignore_errors=True)
    broken.mkdir(parents=True)
    index = json.loads((source / converted.INDEX).read_text("utf-8"))
    for model in index["models"]:
        if model["name"] == "detector":
            (broken / model["file"]).write_bytes(b"no model")
            model["sha256"] = hashlib.sha256(b"no model").hexdigest()
        else:
            shutil.copyfile(source / model["file"], broken / model["file"])
    (broken / converted.INDEX).write_text(json.dumps(index), "utf-8")
    wanted = {
        "good models": (source, "1.0.0"),
        "models that do not load": (broken, "1.1.0"),
        "better models": (source, "1.2.0"),
    }
    return {name: _set(folder, version) for name, (folder, version) in wanted.items()}


def _set(source: Path, version: str) -> Offer:
    words = [sys.executable, "-m", "build_scripts", "models", "--version", version]
    words += ["--source", str(source), "--out", str(_FOLDER)]
    subprocess.run(words, check=True, cwd=report.ROOT, capture_output=True)
    file = _FOLDER / f"flow-models-{version}.flowmodels"
    return Offer(file, hashlib.sha256(file.read_bytes()).hexdigest(), version, "models")
