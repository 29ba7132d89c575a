"""FLOW's settings for tests: quick hashes, mail in memory, its own folder."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("FLOW_HOME", tempfile.mkdtemp(prefix="flow-test-"))
os.environ.setdefault("FLOW_SECRET_KEY", "only-for-tests")
os.environ.setdefault("FLOW_EMBEDDED", "1")

from flow.environment import HOME
from flow.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    # In a file, as in use: a database in memory that two threads share locks whole tables.
    DATABASES["default"]["TEST"] = {"NAME": HOME / "test.sqlite3"}  # noqa: F405
