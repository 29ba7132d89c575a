"""The hub's side of TLS: its certificate, and whom it lets into a handshake."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509

from hil.local_hub.certificates import pem
from hil.local_hub.credentials import Chain

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which `ssl` has no name."""


def server_context(
    certificate: Path, key: Path, trusted: Iterable[x509.Certificate]
) -> ssl.SSLContext:
    """A context that asks for a client certificate and takes one that leads to `trusted`.

    A device's own registered certificate counts as trusted too, hence partial chains. Validity
    times are left to the hub's own check, which answers with a CONNACK code as IoT Hub does.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    anchors = "".join(map(pem, trusted))
    if anchors:
        context.load_verify_locations(cadata=anchors)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
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
