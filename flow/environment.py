"""What the operator may set from outside, as environment variables; docs/deploy-azure.md lists it.

Without any of them FLOW runs embedded: SQLite and a generated secret in `build/flow`, one
process, e-mail on the terminal. With FLOW_DATABASE_URL it runs as production and insists on
the settings that make production safe.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from firmware.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("FLOW_HOME", ROOT / "build" / "flow"))
PRODUCTION = "FLOW_DATABASE_URL" in os.environ and os.environ.get("FLOW_EMBEDDED") != "1"


def word(name: str, default: str = "") -> str:
    """A setting; in production one without a default must be given.

    Raises:
        ConfigError: it is missing.
    """
    value = os.environ.get(name, default)
    if not value and PRODUCTION and not default:
        raise ConfigError(
            f"{name} is not set", remedy=f"set {name} as docs/deploy-azure.md describes"
        )
    return value


def words(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in word(name, default).split(",") if part.strip()]


def secret_key() -> str:
    """FLOW_SECRET_KEY, or for the embedded use one that is made once and kept (mode 0600)."""
    if PRODUCTION or "FLOW_SECRET_KEY" in os.environ:
        return word("FLOW_SECRET_KEY")
    path = HOME / "secret"
    if not path.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text()


def database() -> dict[str, Any]:
    """Django's DATABASES entry for FLOW_DATABASE_URL, or SQLite in FLOW_HOME.

    Raises:
        ConfigError: the address is no `postgresql://user:password@host:port/name`.
    """
    address = os.environ.get("FLOW_DATABASE_URL", "")
    if not address:
        HOME.mkdir(parents=True, exist_ok=True)
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": HOME / "flow.sqlite3",
            "OPTIONS": {
                # Writers queue at BEGIN instead of failing in the middle of a transaction.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    parts = urlsplit(address)
    if parts.scheme not in ("postgres", "postgresql") or not parts.path.strip("/"):
        raise ConfigError(
            "FLOW_DATABASE_URL is no PostgreSQL address",
            remedy="write it as postgresql://user:password@host:5432/name?sslmode=require",
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": dict(parse_qsl(parts.query)),
    }
