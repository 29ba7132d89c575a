"""`python -m flow.demo FOLDER`: the last station of `make demo`, the visitors on the overview page.

Takes the records from the demo's hub, serves the application on this machine, logs in over HTTP as
the administrator, and says what the overview shows. With --stay the page is served until Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import http.cookiejar
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from firmware.errors import SensorError, UplinkError

EMAIL = "admin@example.com"
HOST = "127.0.0.1"
PORT = 8600
DAYS = 65
"""Of made-up visitors at three shops, so that the demo's own are not alone on the page."""
START_S = 60.0
TILES = ("Visitors", "Mean stay", "Looking")
_TILE = re.compile(r'<h2>([^<]+)<.*?class="figure">([^<]*)</p>', re.DOTALL)
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m flow.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the run; its hub is still there")
    parser.add_argument("--visitors", type=int, required=True, help="that the page must show")
    parser.add_argument("--stay", action="store_true", help="serve the page until Ctrl-C")
    chosen = parser.parse_args()
    port = _port()
    os.environ.pop("FLOW_DATABASE_URL", None)
    os.environ |= {
        "FLOW_HOME": str((chosen.folder / "flow").resolve()),
        "FLOW_LOCAL_HUB": str(chosen.folder / "hub"),
        "FLOW_HOSTS": HOST,
        "FLOW_BASE_URL": f"http://{HOST}:{port}",
        "DJANGO_SETTINGS_MODULE": "flow.settings",
    }
    password = secrets.token_urlsafe(12)
    site = _fill(chosen.folder, password)
    with _served(port) as address:
        tiles = look(address, password, f"/?site={site}&period=7d")
        shown = tiles.get("Visitors", "nothing")
        said = ", ".join(f"{name.lower()} {tiles[name]}" for name in TILES if name in tiles)
        print(f"flow: the overview says: {said}")
        print(f"flow: {address}/?site={site}   log in as {EMAIL}, password {password}", flush=True)
        if chosen.stay:
            print("flow: Ctrl-C ends it", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)
    return 0 if shown == f"{chosen.visitors:,}" else 1


def _fill(folder: Path, password: str) -> str:
    """Make the database, and bring the demo's records into it; returns the site's short name."""
    import django  # noqa: PLC0415 (the environment had to be set before)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from flow.management.commands import adopt  # noqa: PLC0415

    call_command("setup", demo=True, days=DAYS, email=EMAIL, password=password)
    call_command("adopt", folder, hub=True)
    return adopt.SITE


def _port() -> int:
    """The usual one, or any other where that is taken."""
    for port in (PORT, 0):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                trial.bind((HOST, port))
                return int(trial.getsockname()[1])
    raise UplinkError(f"{HOST} has no free port", remedy="end what listens there, then try again")


@contextlib.contextmanager
def _served(port: int) -> Iterator[str]:
    """The application's address, for as long as the block runs."""
    address = f"http://{HOST}:{port}"
    log = Path(os.environ["FLOW_HOME"], "web.log")
    words = ["-m", "gunicorn", "--threads", "4", "--bind", f"{HOST}:{port}", "flow.wsgi"]
    with log.open("ab") as file:
        server = subprocess.Popen(  # in a session of its own: Ctrl-C reaches this program alone
            [sys.executable, *words], stdout=file, stderr=file, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"{address}/healthz"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise UplinkError("the web server does not answer", remedy=f"look into {log}")
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(2)
        except subprocess.TimeoutExpired:  # a browser keeps its connection open
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 (our own)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def look(address: str, password: str, page: str) -> dict[str, str]:
    """Log in as anybody would, and read the key figures off a page: title → what is shown."""
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    browser = urllib.request.build_opener(jar)
    login = f"{address}/account/login/"
    with browser.open(login, timeout=30) as answer:
        token = _TOKEN.search(answer.read().decode())
    form = {
        "login": EMAIL,
        "password": password,
        "csrfmiddlewaretoken": token.group(1) if token else "",
    }
    with browser.open(login, urllib.parse.urlencode(form).encode(), timeout=30):
        pass
    with browser.open(address + page, timeout=30) as answer:
        text = answer.read().decode()
    return {title.strip(): unescape(value).strip() for title, value in _TILE.findall(text)}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SensorError as error:
        print(f"flow: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
