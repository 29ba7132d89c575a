"""Keys and signatures in the form of OpenBSD's `signify`: a line of comment, then base64."""

from __future__ import annotations

import base64

HEAD_BYTES = 10
"""`Ed`, then the number of the key: a signature begins as the key does that made it."""
KEY_BYTES, SIGNATURE_BYTES = HEAD_BYTES + 32, HEAD_BYTES + 64


def read(text: bytes, size: int) -> bytes:
    """What a file holds, its head included.

    Args:
        size: `KEY_BYTES` or `SIGNATURE_BYTES`.

    Raises:
        ValueError: it has another form.
    """
    found = base64.b64decode(text.splitlines()[1], validate=True) if b"\n" in text else b""
    if len(found) != size or found[:2] != b"Ed":
        raise ValueError("not a signify file")
    return found
