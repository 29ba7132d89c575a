"""Fetches a bundle over HTTPS, goes on where it was interrupted, and checks its digest.

Any server that answers range requests will do; one that does not is read from the start.
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from firmware.errors import UpdateError

CHUNK = 256 * 1024
TIMEOUT_S = 30.0
PAUSES_S = (1.0, 2.0, 5.0, 15.0, 60.0, 60.0, 300.0, 300.0)
"""Between tries that brought nothing; progress begins the list again."""
MOST_BYTES = 768 << 20


def fetch(
    url: str,
    sha256: str,
    target: Path,
    *,
    progress: Callable[[int, int], None],
    trust: str = "",
    pauses_s: tuple[float, ...] = PAUSES_S,
) -> None:
    """Bring `url` into `target`.

    Args:
        sha256: of the whole file, in hexadecimal.
        target: what is there already counts as the file's beginning.
        progress: called with bytes so far and bytes in all (0: unknown).
        trust: PEM file with the server's roots; empty: the system's.

    Raises:
        UpdateError: no HTTPS address, nothing to be had, too large, or another file than asked for.
    """
    if urllib.parse.urlsplit(url).scheme != "https":
        raise UpdateError("the bundle's address is not HTTPS", remedy="name an https:// address")
    context = ssl.create_default_context(cafile=trust or None)
    waits = list(pauses_s)
    while True:
        have = target.stat().st_size if target.exists() else 0
        try:
            for so_far, total in _read(url, target, have, context):
                progress(so_far, total)
            break
        except (OSError, http.client.HTTPException) as error:
            gone = isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410)
            final = gone or isinstance(error, http.client.InvalidURL)
            if target.exists() and target.stat().st_size > have:
                waits = list(pauses_s)
            if final or not waits:
                raise UpdateError(
                    f"the bundle cannot be fetched ({_reason(error)})",
                    remedy="check the address, the server and its certificate, then ask again",
                ) from error
            time.sleep(waits.pop(0))
    if _digest(target) != sha256:
        target.unlink()
        raise UpdateError(
            "the bundle is not the one that was asked for: its digest differs",
            remedy="name the SHA-256 of the file that the server holds",
        )


def _read(url: str, target: Path, have: int, context: ssl.SSLContext) -> Iterator[tuple[int, int]]:
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - https
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to be had: the digest will tell
            return
        raise
    with answer:
        resumed = answer.status == 206
        length = int(answer.headers.get("Content-Length") or 0)
        so_far = have if resumed else 0
        total = so_far + length if length else 0
        with target.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                so_far += len(chunk)
                if so_far > MOST_BYTES:
                    raise UpdateError(
                        "the bundle is larger than a device can hold",
                        remedy=f"keep bundles below {MOST_BYTES >> 20} MiB",
                    )
                yield so_far, total
        if total and so_far < total:
            raise http.client.IncompleteRead(b"", total - so_far)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    return type(getattr(error, "reason", None) or error).__name__


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()
