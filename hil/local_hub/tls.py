"""The hub's side of TLS: its certificate, and whom it lets into a handshake."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from cryptography import x509

from hil.local_hub.credentials import Chain
from provisioning.authority import Authority, pem, private_pem, write_new

CertificateKind = Literal["good", "stranger", "expired", "other_name"]
"""A certificate that devices believe (a new one each time), and three that they must not:
from a root of somebody else's, out of date, for another host."""

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which `ssl` has no name."""


class Handshakes:
    """The TLS context for every new connection, as certificates come and go.

    Args:
        directory: keeps the root that devices must trust (`trust.pem`) over restarts.
        hosts: names and IP addresses of the server.
        trusted: what client certificates may lead to at this time.
    """

    def __init__(
        self,
        directory: Path,
        hosts: Iterable[str],
        trusted: Callable[[], Iterable[x509.Certificate]],
    ) -> None:
        self._directory, self._hosts, self._trusted = directory, list(hosts), trusted
        if not (directory / "trust.key").exists():
            Authority.root("Local hub root").save(directory, "trust")
        self._root = Authority.load(directory, "trust")
        self._current: ssl.SSLContext | None = None
        self.use("good")

    def use(self, kind: CertificateKind) -> None:
        """Show such a certificate from the next handshake on."""
        root = Authority.root("Another root") if kind == "stranger" else self._root
        hosts = ["other.invalid"] if kind == "other_name" else self._hosts
        certificate, key = root.server(hosts, days=-1 if kind == "expired" else 30)
        for name, content in (("server.pem", certificate), ("server.key", private_pem(key))):
            (self._directory / name).unlink(missing_ok=True)
            write_new(self._directory / name, content, mode=0o600)
        self.renew()

    def renew(self) -> None:
        """Ask whom to trust again, at the next handshake."""
        self._current = None

    def context(self) -> ssl.SSLContext:
        """For a listener: hands each connection over to the context of its own moment."""
        outer = self._context()
        outer.sni_callback = self._hand_over
        return outer

    def _hand_over(self, connection: ssl.SSLObject, _name: object, _outer: object) -> None:
        if self._current is None:
            self._current = self._context()
        connection.context = self._current

    def _context(self) -> ssl.SSLContext:
        """Asks for a client certificate and takes one that leads to what is trusted.

        A device's own registered certificate counts as trusted too, hence partial chains.
        Validity times are left to the hub's check, which answers with a CONNACK code.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._directory / "server.pem", self._directory / "server.key")
        anchors = pem(*self._trusted()).decode()
        if anchors:
            context.load_verify_locations(cadata=anchors)
        context.verify_mode = ssl.CERT_OPTIONAL
        flags = context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        context.verify_flags = ssl.VerifyFlags(flags)
        return context


def client_chain(connection: ssl.SSLObject) -> Chain:
    """The client's certificates as it sent them; the handshake has checked the first one."""
    if connection.getpeercert(binary_form=True) is None:
        return ()
    # Public from Python 3.13 on; before that only on the object inside.
    sent = getattr(connection, "get_unverified_chain", None)
    if sent is None:
        sent = connection._sslobj.get_unverified_chain  # type: ignore[attr-defined]
    return tuple(x509.load_der_x509_certificate(_der(one)) for one in sent())


def _der(certificate: object) -> bytes:
    if isinstance(certificate, bytes):
        return certificate
    octets: bytes = certificate.public_bytes(2)  # type: ignore[attr-defined] # 2: DER
    return octets
