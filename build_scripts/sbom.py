"""The bill of materials of an image: CycloneDX 1.6 with licences and model cards.

Parts are Debian packages (as locked), Python packages (as locked), and the models with where they
come from, their licence, and what they get right and wrong.
"""

from __future__ import annotations

import email
import hashlib
import re
import subprocess
import tarfile
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from build_scripts import debian
from build_scripts.boards import Board
from build_scripts.image import product
from firmware import __version__
from firmware.vision import models
from trt_engines import manifests

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_NAMESPACE = uuid.UUID("464c4f57-0000-4000-8000-00000000b0b0")
_LICENCE = re.compile(r"^License:[ \t]*(\S.*)$", re.MULTILINE)


def document(board: Board, cache: Path) -> dict[str, Any]:
    """The whole bill; the same locks give the same document.

    Args:
        cache: where the build keeps packages and wheels.

    Raises:
        BuildError: a lock or a package is missing.
    """
    locked = debian.Lock.load(debian.lock_path(board.architecture))
    debian.fetch(locked, cache / "debs")
    wheels = product.wheels(board.machine, cache)
    components = [
        *(_debian(package, cache / "debs" / package.sha256, board) for package in locked.packages),
        *map(_wheel, wheels),
        *_models(),
    ]
    serial = uuid.uuid5(_NAMESPACE, f"{board.compatible} {__version__} {locked.digest}")
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": "flow-sensor",
                "name": board.compatible,
                "version": __version__,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
            "lifecycles": [{"phase": "build"}],
        },
        "components": components,
        "dependencies": [
            {"ref": "flow-sensor", "dependsOn": [part["bom-ref"] for part in components]}
        ],
    }


def _debian(package: debian.Package, path: Path, board: Board) -> dict[str, Any]:
    architecture = package.file.rpartition("_")[2].removesuffix(".deb")
    version = package.version
    return {
        "type": "operating-system" if package.kernel else "library",
        "bom-ref": f"deb:{package.name}",
        "name": package.name,
        "version": version,
        "purl": f"pkg:deb/debian/{_escaped(package.name)}@{_escaped(version)}"
        f"?arch={architecture}&distro={debian.SUITE}",
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
        "licenses": _named(debian_licences(path)),
    }


def debian_licences(package: Path) -> list[str]:
    """Licences that a package's copyright file names, without repetition; [] when it is prose."""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpack,
        tarfile.open(fileobj=unpack.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if member.name.endswith("/copyright") and member.isfile():
                file = archive.extractfile(member)
                text = file.read().decode("utf-8", "replace") if file else ""
                unpack.kill()
                return list(dict.fromkeys(name.strip() for name in _LICENCE.findall(text)))
    return []


def _wheel(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(name))
    project, version = str(about["Name"]).lower().replace("_", "-"), str(about["Version"])
    return {
        "type": "library",
        "bom-ref": f"pypi:{project}",
        "name": project,
        "version": version,
        "purl": f"pkg:pypi/{project}@{version}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
        "licenses": _named(_wheel_licences(about)),
    }


def _wheel_licences(about: email.message.Message) -> list[str]:
    if about["License-Expression"]:
        return [str(about["License-Expression"])]
    classes = [
        str(each).rpartition(" :: ")[2]
        for each in about.get_all("Classifier", [])
        if str(each).startswith("License :: ") and not str(each).endswith("OSI Approved")
    ]
    stated = str(about["License"] or "").strip().splitlines()
    return classes or stated[:1]


def _models() -> Iterable[dict[str, Any]]:
    for manifest in manifests.load().values():
        source = manifest.source
        measured = [
            {"type": name, "value": str(value)} for name, value in sorted(manifest.measured.items())
        ]
        files = [
            {"alg": "SHA-256", "content": model.sha256}
            for model in models.index(models.directory()).models
            if model.name == manifest.name
        ]
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"model:{manifest.name}",
            "name": manifest.title,
            "version": source.version or "1",
            "hashes": [{"alg": "SHA-256", "content": source.sha256}],
            "licenses": _named([source.licence]),
            "properties": [
                {"name": "flow:converted-sha256", "value": digest["content"]} for digest in files
            ],
            "externalReferences": [
                {
                    "type": "distribution",
                    "url": f"pkg:pypi/{source.package}@{source.version}",
                    "hashes": [{"alg": "SHA-256", "content": source.archive_sha256}],
                }
            ]
            if source.package
            else [],
            "modelCard": {
                "modelParameters": {"task": manifest.name},
                "quantitativeAnalysis": {"performanceMetrics": measured},
                "considerations": {
                    "useCases": ["anonymous statistics of visitors, on the device alone"],
                    "technicalLimitations": [
                        f"training data: {source.training_data or 'as its source says'}; "
                        "docs/model-cards.md says what it gets wrong, and for whom"
                    ],
                },
            },
        }


def _named(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"license": {"name": name}} for name in dict.fromkeys(names) if name]


def _escaped(text: str) -> str:
    return text.replace("+", "%2B").replace(":", "%3A").replace("~", "~")
