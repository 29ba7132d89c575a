"""`python -m hil.local_hub`: run a hub, or speak to one that runs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from firmware.device_trust import DeviceTrust
from firmware.errors import SensorError
from firmware.reader import Reader
from firmware.recipient import PrivateKey
from hil.local_hub.cloud import Options
from hil.local_hub.control import Control, Requests
from hil.local_hub.errors import ServiceError
from hil.local_hub.rest import RestFace
from hil.local_hub.server import Server
from hil.local_hub.service import Service


def main(words: list[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    arguments = vars(_parser().parse_args(words))
    state: Path = arguments.pop("state")
    command = arguments.pop("command")
    try:
        if command is None:
            return asyncio.run(_serve(_options(state, arguments)))
        service = Service(state)
        with contextlib.closing(service):
            _speak(service, command, arguments)
    except SensorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hil.local_hub",
        description="A hub on this machine that devices take for Azure IoT Hub and DPS. "
        "Without a command: run it and print one line when it is ready.",
    )
    parser.add_argument("--state", type=Path, required=True, help="the hub's directory")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument("--port", type=int, default=8883)
    parser.add_argument("--websocket-port", type=int, help="443 for the SDK; none: no WebSocket")
    parser.add_argument("--rest-port", type=int, help="for flow-provision; none: no REST")
    parser.add_argument("--hub", action="append", default=[], help="name of a hub (default: host)")
    parser.add_argument(
        "--also", action="append", default=[], help="another name or address that devices see"
    )
    parser.add_argument(
        "--authority", type=Path, action="append", default=[], help="PEM of a device authority"
    )
    parser.add_argument("--id-scope", default="0ne00000000")
    parser.add_argument("--seed", type=int, default=0, help="of the faults' probabilities")
    parser.add_argument("--retry-after", type=int, default=1, help="seconds between DPS polls")
    parser.add_argument(
        "--forget-sessions", action="store_true", help="start without the sessions on disk"
    )
    commands = parser.add_subparsers(dest="command")
    watch = commands.add_parser("watch", help="print messages as they arrive")
    watch.add_argument("--after", type=int, default=0, help="leave out so many from the beginning")
    opening = commands.add_parser("open", help="open records as they arrive, one JSON line each")
    opening.add_argument("--after", type=int, default=0, help="as for watch")
    opening.add_argument("--key", type=Path, action="append", required=True, help="recipient's")
    opening.add_argument("--devices", type=Path, required=True, help="folder of certificates")
    enrol = commands.add_parser("enrol", help="write enrolments from a JSON file into DPS")
    enrol.add_argument("file", type=Path, help="list of objects: hil.local_hub.state.enrolment")
    commands.add_parser("devices", help="list the registry")
    commands.add_parser("stats", help="print totals")
    for name, what in (("twin", "print a device's twin"), ("remove", "take a device out")):
        commands.add_parser(name, help=what).add_argument("device")
    patch = commands.add_parser("patch", help="patch a device's desired properties")
    patch.add_argument("device")
    patch.add_argument("patch", type=json.loads, help="JSON object")
    call = commands.add_parser("call", help="invoke a method of a device")
    call.add_argument("device")
    call.add_argument("method")
    call.add_argument("payload", type=json.loads, nargs="?", help="JSON")
    call.add_argument("--timeout", dest="timeout_s", type=float, default=30.0)
    fault = commands.add_parser("fault", help="arm a fault, or `fault clear`")
    fault.add_argument("action")
    fault.add_argument("point", nargs="?", default="telemetry")
    fault.add_argument("--device", default="*")
    fault.add_argument("--probability", type=float, default=1.0)
    fault.add_argument("--count", type=int)
    fault.add_argument("--seconds", type=float, default=1.0)
    fault.add_argument("--code", type=int, default=3)
    fault.add_argument(
        "--kind", default="random", help="of `garbage`; docs/local-hub.md lists them"
    )
    return parser


def _options(state: Path, arguments: dict[str, Any]) -> Options:
    return Options(
        host=arguments["host"],
        state=state,
        port=arguments["port"],
        websocket_port=arguments["websocket_port"],
        rest_port=arguments["rest_port"],
        hubs=tuple(arguments["hub"]),
        also=tuple(arguments["also"]),
        authorities=tuple(arguments["authority"]),
        id_scope=arguments["id_scope"],
        seed=arguments["seed"],
        retry_after_s=arguments["retry_after"],
        forget_sessions=arguments["forget_sessions"],
    )


async def _serve(options: Options) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = Server(options)
    control = Control(server, ended.set)
    try:
        await server.start()
        await control.listen(options.state / "control.sock")
        if options.rest_port is not None:
            face = RestFace(Requests(server, ended.set), options.host, options.rest_port)
            await face.listen(server.handshakes.context(), options.state)
    except OSError as error:
        raise ServiceError(
            503,
            f"cannot listen on {options.host} ({error.strerror or type(error).__name__})",
            remedy="choose another 127.x.y.z address, and a short --state path",
        ) from error
    ready = {
        "ready": True,
        "host": options.host,
        "port": options.port,
        "hubs": list(server.cloud.hubs),
    }
    print(json.dumps(ready), flush=True)
    await ended.wait()
    await server.stop()
    return 0


def _speak(service: Service, command: str, given: dict[str, Any]) -> None:
    if command == "watch":
        for event in service.watch(after=given["after"]):
            shown = f"{event.message_id} {len(event.body)} octets {json.dumps(event.properties)}"
            print(f"{event.at:.3f} {event.device} {shown}", flush=True)
    elif command == "open":
        _open(service, given["after"], given["key"], given["devices"])
    elif command == "enrol":
        print(f"{service.enrol_from(given['file'])} enrolments written")
    elif command == "fault" and given["action"] == "clear":
        service.clear_faults()
    elif command == "fault":
        named = ("action", "point", "device", "probability", "count", "seconds", "code", "kind")
        service.fault(**{name: given[name] for name in named})
    elif command == "call":
        status, payload = service.call(
            given["device"], given["method"], given["payload"], timeout_s=given["timeout_s"]
        )
        print(json.dumps({"status": status, "payload": payload}))
    else:
        result = getattr(service, command)(
            **{name: given[name] for name in ("device", "patch") if name in given}
        )
        if result is not None:
            print(json.dumps(result, indent=2))


def _open(service: Service, after: int, keys: list[Path], devices: Path) -> None:
    reader = Reader(map(PrivateKey.load, keys), DeviceTrust.from_folder(devices))
    for event in service.watch(after=after):
        reading = reader.read(event.body, event.device)
        for opened in reading.records:
            print(msgspec.json.encode(opened).decode(), flush=True)
        for error in reading.refused:
            print(f"refused: {error.problem}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
