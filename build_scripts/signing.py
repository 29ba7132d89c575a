"""Detached signatures of release files, and statements of where a release comes from.

A signature is Ed25519 in the form of `signify` (`FILE.sig`), so that Debian's own tool can check
it: `signify-openbsd -V -p key.pub -m FILE`. Provenance is an in-toto statement with SLSA's
provenance predicate in a DSSE envelope, signed with the same key.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from build_scripts import debian, tools
from build_scripts.errors import BuildError
from build_scripts.image import disk, product
from build_scripts.keys import Keys
from firmware import signify

_PAYLOAD = "application/vnd.in-toto+json"


def sign(path: Path, keys: Keys) -> Path:
    """Write `<path>.sig`.

    Raises:
        BuildError: there is no such file.
    """
    try:
        signature = keys.sign(path.read_bytes())
    except OSError as error:
        raise BuildError(
            f"{path} cannot be read ({error.strerror})", remedy="name a file"
        ) from error
    target = path.with_name(f"{path.name}.sig")
    target.write_text(signature)
    return target


def verify(path: Path, public: str) -> None:
    """Check `<path>.sig`.

    Args:
        public: text of the public key file.

    Raises:
        BuildError: the signature is missing, damaged, of another key, or of another content.
    """
    try:
        given = path.with_name(f"{path.name}.sig").read_bytes()
        signature = signify.read(given, signify.SIGNATURE_BYTES)
        key, head = signify.read(public.encode(), signify.KEY_BYTES), signify.HEAD_BYTES
        if signature[:head] != key[:head]:
            raise BuildError(f"{path} is signed with another key", remedy="get the right key")
        Ed25519PublicKey.from_public_bytes(key[head:]).verify(signature[head:], path.read_bytes())
    except (OSError, ValueError) as error:
        raise BuildError(
            f"the signature of {path} cannot be used ({type(error).__name__})",
            remedy="get the file, its .sig and the key again",
        ) from error
    except InvalidSignature:
        raise BuildError(
            f"{path} is not what was signed", remedy="do not use it; get it again"
        ) from None


def provenance(image: Path, keys: Keys) -> Path:
    """Write `<image>/provenance.json`: what the image's files are, and what they were made of.

    Raises:
        BuildError: there is no built image, or a file of it was changed.
    """
    try:
        about = json.loads((image / "manifest.json").read_text())
        files = about["files"]
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(
            f"{image} holds no image ({type(error).__name__})", remedy="build one first"
        ) from error
    for name, expected in files.items():
        if disk.digest(image / name) != expected["sha256"]:
            raise BuildError(f"{image / name} is not what was built", remedy="build it again")
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": files[name]["sha256"]}} for name in sorted(files)
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://flow-sensor.invalid/build_scripts/image/v1",
                "externalParameters": {
                    key: about[key] for key in ("board", "architecture", "flavour", "version")
                },
                "resolvedDependencies": _materials(about),
            },
            "runDetails": {"builder": {"id": "https://flow-sensor.invalid/build_scripts"}},
        },
    }
    target = image / "provenance.json"
    target.write_text(json.dumps(envelope(statement, keys), indent=1) + "\n")
    return target


def _materials(about: dict[str, Any]) -> list[dict[str, Any]]:
    locked = debian.Lock.load(debian.lock_path(about["architecture"]))
    return [
        {"name": "source", "digest": {"gitCommit": _commit()}},
        {"name": "debian packages", "digest": {"sha256": about["packages"]}},
        {
            "name": "python packages",
            "digest": {"sha256": disk.digest(product.ROOT / "requirements" / "pi.txt")},
        },
        *(
            {"uri": f"pkg:deb/debian/{each.name}@{each.version}", "digest": {"sha256": each.sha256}}
            for each in locked.packages
        ),
    ]


def envelope(statement: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """DSSE: what is signed is the payload with its type and both lengths."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signature = keys.slot.sign(_encoded(payload))
    return {
        "payloadType": _PAYLOAD,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }


def opened(document: dict[str, Any], public: str) -> dict[str, Any]:
    """The statement in a signed envelope.

    Raises:
        BuildError: it is damaged, or nobody who counts has signed it.
    """
    try:
        payload = base64.b64decode(document["payload"], validate=True)
        signature = base64.b64decode(document["signatures"][0]["sig"], validate=True)
        key = signify.read(public.encode(), signify.KEY_BYTES)[signify.HEAD_BYTES :]
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _encoded(payload))
        statement = json.loads(payload)
    except (ValueError, KeyError, IndexError, TypeError, InvalidSignature) as error:
        raise BuildError(
            f"the statement is not what was signed ({type(error).__name__})",
            remedy="do not believe it; get it again",
        ) from error
    if not isinstance(statement, dict):
        raise BuildError("the statement has another form", remedy="get it again")
    return statement


def _encoded(payload: bytes) -> bytes:
    kind = _PAYLOAD.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _commit() -> str:
    tree = ("git", "-C", str(product.ROOT))
    changed = tools.run([*tree, "status", "--porcelain", "--untracked-files=no"])
    return tools.run([*tree, "rev-parse", "HEAD"]).strip() + ("+" if changed else "")
