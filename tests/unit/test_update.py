"""The updater: what is fetched, what is refused, what is done in which order.

RAUC and the restart are played by small programs that note how they were called; that RAUC itself
takes the real bundles and refuses altered ones is in tests/integration/test_bundle.py.
"""

from __future__ import annotations

import datetime
import hashlib
import http.server
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from firmware import messages
from firmware.errors import UpdateError
from firmware.update import download, version
from firmware.update.worker import Places, Update

BUNDLE = bytes(range(256)) * 8192  # 2 MiB
DIGEST = hashlib.sha256(BUNDLE).hexdigest()


@dataclass
class Server:
    """An HTTPS server with one file, that breaks off when told to."""

    url: str
    roots: Path
    break_after: list[int] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    status: int = 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "updates")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    roots, both = tmp_path / "roots.pem", tmp_path / "server.pem"
    roots.write_bytes(pem)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    both.write_bytes(secret + pem)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            told.ranges.append(asked)
            if told.status:
                self.send_error(told.status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-") or 0) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(BUNDLE) - start))
            self.end_headers()
            end = told.break_after.pop(0) if told.break_after else len(BUNDLE)
            self.wfile.write(BUNDLE[start:end])

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        told = Server(f"https://127.0.0.1:{listening.server_port}/flow.raucb", roots)
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield told
        listening.shutdown()
        thread.join()


def fetch(server: Server, target: Path, *, sha256: str = DIGEST, tries: int = 3) -> list[int]:
    seen: list[int] = []
    download.fetch(
        server.url,
        sha256,
        target,
        progress=lambda so_far, _: seen.append(so_far),
        trust=str(server.roots),
        pauses_s=(0.0,) * tries,
    )
    return seen


def test_download_goes_on_where_it_was_interrupted(server: Server, tmp_path: Path) -> None:
    server.break_after = [700_000, 1_500_000]
    fetch(server, tmp_path / "bundle")
    assert (tmp_path / "bundle").read_bytes() == BUNDLE
    assert server.ranges == ["", "bytes=700000-", "bytes=1500000-"]


def test_download_goes_on_after_a_restart_of_the_updater(server: Server, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(BUNDLE[:1000])
    fetch(server, tmp_path / "bundle")
    assert (tmp_path / "bundle").read_bytes() == BUNDLE
    assert server.ranges == ["bytes=1000-"]


def test_another_file_than_asked_for_is_thrown_away(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="digest"):
        fetch(server, tmp_path / "bundle", sha256="0" * 64)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (503, 4)])
def test_what_no_patience_mends_is_not_asked_for_again(
    server: Server, tmp_path: Path, status: int, asked: int
) -> None:
    server.status = status
    with pytest.raises(UpdateError, match=f"HTTP {status}"):
        fetch(server, tmp_path / "bundle")
    assert len(server.ranges) == asked


def test_server_of_another_authority_is_not_spoken_to(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="cannot be fetched"):
        download.fetch(
            server.url, DIGEST, tmp_path / "bundle", progress=lambda *_: None, pauses_s=()
        )
    assert server.ranges == []


def test_address_that_is_none_is_refused_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="cannot be fetched"):
        download.fetch(
            f"{server.url} old",
            DIGEST,
            tmp_path / "bundle",
            progress=lambda *_: None,
            pauses_s=(3600.0,),
        )


def test_plain_http_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="not HTTPS"):
        download.fetch("http://127.0.0.1/x", DIGEST, tmp_path / "bundle", progress=lambda *_: None)


@pytest.mark.parametrize(
    ("older", "newer"), [("1.9.2", "1.10.0"), ("0.1.0", "0.1.1"), ("0.9.9", "1.0.0")]
)
def test_versions_are_in_order(older: str, newer: str) -> None:
    assert version.parse(older) < version.parse(newer)


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3\n", "-1.0.0"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UpdateError, match="no version"):
        version.parse(text)


@pytest.fixture
def places(tmp_path: Path, server: Server) -> Places:
    slot = tmp_path / "slot"
    slot.mkdir()
    (slot / "version").write_text("1.0.0\n")
    rauc = tmp_path / "rauc"
    rauc.write_text(
        '#!/bin/sh\necho "$1" >> "$0.calls"\n'
        'if [ "$1" = info ]; then exec cat "$0.info"; fi\n'
        'cat "$0.says" >&2; exit "$(cat "$0.exit")"\n'
    )
    rauc.chmod(0o755)
    (tmp_path / "rauc.info").write_text(json.dumps({"version": "1.1.0"}))
    (tmp_path / "rauc.exit").write_text("0")
    (tmp_path / "rauc.says").write_text("")
    return Places(
        slot=slot,
        folder=tmp_path / "bundles",
        tried=tmp_path / "update-tried",
        trust=server.roots,
        rauc=(str(rauc),),
        reboot=("touch", str(tmp_path / "restarted")),
    )


def update(
    places: Places, server: Server, *, wanted: str = "1.1.0", sha256: str = DIGEST
) -> list[messages.UpdateState]:
    said: list[messages.UpdateState] = []
    Update(messages.StartUpdate(server.url, sha256, wanted), said.append, places).run()
    return said


def calls(places: Places) -> list[str]:
    path = Path(f"{places.rauc[0]}.calls")
    return path.read_text().split() if path.exists() else []


def test_newer_bundle_is_installed_and_started(
    places: Places, server: Server, tmp_path: Path
) -> None:
    said = update(places, server)
    stages = list(dict.fromkeys(state.state for state in said))
    assert stages == ["downloading", "installing", "restarting"]
    assert said[-3].percent == 100
    assert calls(places) == ["info", "install"]
    assert (tmp_path / "restarted").exists()
    assert places.tried.read_text() == f"{DIGEST}\n"
    assert list(places.folder.iterdir()) == []


@pytest.mark.parametrize("wanted", ["0.9.0", "0.99.99"])
def test_older_version_is_refused_before_anything_is_fetched(
    places: Places, server: Server, wanted: str
) -> None:
    with pytest.raises(UpdateError, match="not newer"):
        update(places, server, wanted=wanted)
    assert server.ranges == [] and calls(places) == []


@pytest.mark.parametrize(("offered", "problem"), [("1.0.0", "not newer"), ("1.2.0", "not 1.1.0")])
def test_signed_manifest_has_the_last_word_on_the_version(
    places: Places, server: Server, offered: str, problem: str
) -> None:
    Path(f"{places.rauc[0]}.info").write_text(json.dumps({"version": offered}))
    with pytest.raises(UpdateError, match=problem):
        update(places, server)
    assert calls(places) == ["info"]


def test_version_that_failed_its_trial_is_not_started_again(places: Places, server: Server) -> None:
    update(places, server)
    with pytest.raises(UpdateError, match="did not prove itself"):
        update(places, server)
    assert calls(places) == ["info", "install"]


@pytest.mark.parametrize(("trial", "state"), [(True, "trial"), (False, "committed")])
def test_version_that_runs_is_said_to_run(
    places: Places, server: Server, trial: bool, state: str
) -> None:
    if trial:
        (places.slot / "trial").touch()
    assert [each.state for each in update(places, server, wanted="1.0.0")] == [state]
    assert server.ranges == []


def test_slot_on_trial_is_not_left_for_a_third_version(places: Places, server: Server) -> None:
    (places.slot / "trial").touch()
    with pytest.raises(UpdateError, match="not proven itself yet"):
        update(places, server)
    assert calls(places) == []


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        ("Compatible mismatch: Expected 'a' but bundle manifest has 'b'", "another board"),
        ("signature verification failed: Verify error", "signature"),
        ("something in /run/flow-update that nobody should read", "cannot be installed"),
    ],
)
def test_refusal_of_rauc_is_told_in_words_of_our_own(
    places: Places, server: Server, tmp_path: Path, says: str, problem: str
) -> None:
    Path(f"{places.rauc[0]}.says").write_text(says)
    Path(f"{places.rauc[0]}.exit").write_text("1")
    with pytest.raises(UpdateError, match=problem) as refused:
        update(places, server)
    assert "/run" not in str(refused.value)
    assert not (tmp_path / "restarted").exists() and not places.tried.exists()


def test_what_was_fetched_of_another_bundle_makes_room(places: Places, server: Server) -> None:
    places.folder.mkdir()
    (places.folder / "old.raucb").write_bytes(b"old")
    update(places, server)
    assert list(places.folder.iterdir()) == []


def test_device_without_slots_says_so(places: Places, server: Server, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="no slots"):
        update(replace(places, slot=tmp_path / "nothing"), server)
