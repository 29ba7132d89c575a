"""What a device proves itself with: an X.509 chain or a shared access signature."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
from collections.abc import Iterable
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

Chain = tuple[x509.Certificate, ...]
"""A client's certificates as sent in the TLS handshake: its own first. Empty: it sent none."""

_MAX_CHAIN = 5
_NAME = re.compile(r"[A-Za-z0-9\-.%_*?!(),:=@$']{1,128}")


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name, empty when it has none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def thumbprints(certificate: x509.Certificate) -> frozenset[str]:
    """SHA-1 and SHA-256 of the DER form, in capital hexadecimal digits as the registry has them."""
    algorithms = (hashes.SHA1(), hashes.SHA256())  # noqa: S303 - a name in the registry, no proof
    return frozenset(certificate.fingerprint(one).hex().upper() for one in algorithms)


def within_validity(certificate: x509.Certificate, now_s: float) -> bool:
    now = datetime.datetime.fromtimestamp(now_s, datetime.timezone.utc)
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def anchor(
    chain: Chain, anchors: Iterable[x509.Certificate], now_s: float
) -> x509.Certificate | None:
    """The trusted certificate that the chain leads to, through certificates valid at `now_s`.

    The TLS handshake has proven possession of the key and that some trusted path exists; this
    says which trusted authority it was, for an authority of one hub or of one enrolment group.
    """
    trusted = list(anchors)
    if not chain:
        return None
    current = chain[0]
    for _ in range(_MAX_CHAIN):
        if not within_validity(current, now_s):
            return None
        for candidate in trusted:
            if candidate == current or (
                issued(candidate, current) and within_validity(candidate, now_s)
            ):
                return candidate
        above = next((one for one in chain[1:] if one != current and issued(one, current)), None)
        if above is None:
            return None
        current = above
    return None


def issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    """Whether an authority's certificate signed the other one."""
    try:
        if not issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        subject.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    return True


def token_expiry(token: str, resource: str, keys: Iterable[str], now_s: float) -> float | None:
    """When a shared access signature for `resource` ends (Unix seconds); None: it is not valid.

    `SharedAccessSignature sr={resource}&sig={HMAC-SHA256 of "sr\\nse"}&se={expiry}`, each value
    percent-encoded; `keys` are base64, any of them may have signed.
    """
    scheme, _, rest = token.partition(" ")
    fields = dict(part.partition("=")[::2] for part in rest.split("&"))
    try:
        signed, expiry = fields["sr"], int(fields["se"])
        signature = base64.b64decode(unquote(fields["sig"]), validate=True)
    except (KeyError, ValueError):
        return None
    if scheme != "SharedAccessSignature" or expiry <= now_s:
        return None
    if unquote(signed).lower() != resource.lower():
        return None
    text = f"{signed}\n{fields['se']}".encode()
    for key in keys:
        expected = hmac.new(base64.b64decode(key), text, hashlib.sha256).digest()
        if hmac.compare_digest(expected, signature):
            return float(expiry)
    return None


def derived_key(group_key: str, registration_id: str) -> str:
    """The key of one device of a symmetric-key enrolment group, base64."""
    key = base64.b64decode(group_key)
    return base64.b64encode(
        hmac.new(key, registration_id.encode(), hashlib.sha256).digest()
    ).decode()


def check_name(name: str) -> None:
    """Raises ValueError unless it can name a device: 1 … 128 letters, digits and -.%_*?!(),:=@$'"""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!r} cannot be a device's name")


def check_keys(keys: Iterable[str]) -> None:
    """Raises ValueError unless all are symmetric keys: 16 to 64 octets in base64."""
    if not all(16 <= len(base64.b64decode(key, validate=True)) <= 64 for key in keys):
        raise ValueError("a symmetric key must have 16 to 64 octets")
