"""The server that holds update bundles: HTTPS, with range requests, for one rig."""

from __future__ import annotations

import http.server
import re
import ssl
import threading
from pathlib import Path

_CHUNK = 1 << 18


class BundleServer:
    """Serves files by their names until it is closed.

    Args:
        host: address to listen on, at a port that is free.
        certificate, key: PEM files.
    """

    def __init__(self, host: str, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = _Server((host, 0), _Answer)
        self._server.context = context
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def offer(self, file: Path) -> str:
        """Serve this file from now on; → its path in the address."""
        self._server.files[f"/{file.name}"] = file
        return f"/{file.name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def __init__(
        self, address: tuple[str, int], answer: type[http.server.BaseHTTPRequestHandler]
    ) -> None:
        super().__init__(address, answer)
        self.files: dict[str, Path] = {}


class _Answer(http.server.BaseHTTPRequestHandler):
    timeout = 60
    server: _Server

    def setup(self) -> None:
        # The handshake is this connection's own business: one that hangs holds up nobody else.
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def do_GET(self) -> None:
        file = self.server.files.get(self.path)
        if file is None:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        size, begin = file.stat().st_size, int(asked[1]) if asked else 0
        if begin >= size:
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(size - begin))
        self.end_headers()
        with file.open("rb") as content:
            content.seek(begin)
            while chunk := content.read(_CHUNK):
                self.wfile.write(chunk)

    def log_message(self, *_: object) -> None:
        """Say nothing: the device says how far it is."""
