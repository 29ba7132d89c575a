"""What the twin holds for the uplink itself, and what it passes on to the supervisor.

Desired properties are the settings that may change from afar (`settings.TWIN_KEYS`) and two more:
`identity.certificate`, a renewed certificate in PEM, and `recipient.statement`, the operator's
signed word which key to seal to. Neither can be abused by whoever holds the hub: a certificate
counts only for the key that this device made, a statement only with the operator's signature.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Desired(NamedTuple):
    """One set of desired properties, taken apart.

    Attributes:
        version: the twin's version; 0 when it gave none.
        settings: everything that is not the uplink's own.
    """

    version: int
    certificate: str
    statement: str
    settings: dict[str, Any]


def parse(properties: dict[str, Any]) -> Desired:
    """Take desired properties apart; what has the wrong form counts as not there."""
    version = properties.get("$version")
    settings = {
        key: value
        for key, value in properties.items()
        if not key.startswith("$") and key not in ("identity", "recipient")
    }
    return Desired(
        version if type(version) is int and 0 <= version < 1 << 63 else 0,
        _text(properties, "identity", "certificate"),
        _text(properties, "recipient", "statement"),
        settings,
    )


def high_water(reported: dict[str, Any]) -> int:
    """The highest interaction number that this device may have used; 0 when none is known."""
    mark = reported.get("numbers")
    return mark if type(mark) is int and 0 <= mark < 1 << 63 else 0


def _text(properties: dict[str, Any], section: str, key: str) -> str:
    part = properties.get(section)
    value = part.get(key) if isinstance(part, dict) else None
    return value if isinstance(value, str) and value.isascii() else ""
