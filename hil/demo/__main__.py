"""`make demo`: visitors in a scene become sealed records that arrive and are opened.

A local hub, a freshly provisioned sensor with its three processes, and the key's holder, all on
this machine. The rig plays a scene with four visitors, or the clip or camera that --source names,
and shows each record when it has arrived. With --flow the web application then takes the records
from the hub, and they stand on its overview page. The last line says what came of it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from firmware.errors import SensorError
from hil import report
from hil.demo import overview, pilot, player
from hil.demo.arrivals import Arrivals
from hil.demo.terminal import Screen, screen
from hil.local_hub import running
from hil.scenes import script
from hil.scenes.render import Scene
from hil.scenes.source import write_video

FOLDER = report.ROOT / "build" / "demo"
SCENE = script.STANDARD / "four_visitors.scene"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hil.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", help="clip or camera instead of the scene; Ctrl-C ends it")
    parser.add_argument(
        "--flow", type=Path, metavar="PYTHON", help="of the web application, which shows them"
    )
    chosen = parser.parse_args(words)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    shown = screen()
    try:
        return _demo(shown, chosen.source, chosen.flow)
    except SensorError as error:
        shown.close()
        print(f"demo: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        shown.close()


def _end(number: int, frame: FrameType | None) -> None:
    """Unwind, so that every child is ended."""
    raise SystemExit(128 + number)


def _demo(shown: Screen, source: str | None, flow: Path | None) -> int:
    began = time.monotonic()
    scene = None if source else script.load(SCENE)
    clip = _rendered(scene, shown) if scene else None
    # The hub's control socket has a short path when it is relative, wherever the checkout is.
    folder = Path(os.path.relpath(_own_folder()))
    host = pilot.loopback()
    with running(folder / "hub", host) as hub:
        shown.stage(f"hub: IoT Hub's stand-in on {host}")
        made = pilot.make(folder.resolve(), hub, host, source=_uri(clip or source))
        shown.stage("keys: the sensor's own, and the recipient's")
        arrivals = Arrivals(hub.capture, made.reader(), shown)
        with player.sensor(made.settings) as sensor:
            player.follow(sensor, hub, arrivals, shown, clip)
        arrivals.finish()
        shown.close()
        seconds = time.monotonic() - began
        many = len(arrivals.opened)
        seen = overview.show(flow, folder, many) if flow and many else True
    print("\n".join(sensor.words), file=sys.stderr, end="\n" if sensor.words else "")
    figures = {
        "visitors": scene.interactions if scene else sensor.sealed,
        "delivered": len(arrivals.delivered),
        "opened": len(arrivals.opened),
        "duplicates": arrivals.duplicates,
    }
    name = "demo" if scene else "demo_source"
    path = report.write(name, {**figures, "seconds": round(seconds, 1)})
    print(
        f"\n{arrivals.messages} hub messages, {arrivals.octets:,} bytes, none of them readable "
        f"without the private key; {len(arrivals.refused)} refused; {seconds:.0f} s → {path}"
    )
    if arrivals.messages:
        print(
            f"Read them yourself: flow-sensor open --table {folder / 'hub' / 'capture.jsonl'} "
            f"--key {os.path.relpath(made.secret)} --devices {os.path.relpath(made.issued)}"
        )
    for error in arrivals.refused:
        print(f"demo: refused: {error}", file=sys.stderr)
    print("demo: " + " ".join(f"{name}={value}" for name, value in figures.items()), flush=True)
    if not seen:
        print("demo: the overview page does not show these visitors", file=sys.stderr)
    complete = verdict(figures, len(arrivals.refused))
    return sensor.process.returncode or complete or int(not seen)


def verdict(figures: Mapping[str, int], refused: int) -> int:
    """Exit status: 0 when every visitor's record was delivered and opened, once."""
    complete = figures["visitors"] == figures["delivered"] == figures["opened"]
    return 0 if complete and not figures["duplicates"] and not refused else 1


def _rendered(scene: script.Script, shown: Screen) -> Path:
    """The scene as a video, drawn once for each version of script and renderer."""
    sources = [SCENE, *sorted(Path(script.__file__).parent.glob("*.py"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    clip = FOLDER / f"{SCENE.stem}-{digest}.mp4"
    if not clip.exists():
        drawing = Scene(scene)
        rate = scene.camera.frames_per_s
        partial = FOLDER / f"partial-{os.getpid()}.mp4"
        write_video(
            drawing,
            partial,
            lambda done: shown.progress("drawing the scene", done / rate, drawing.length / rate),
        )
        partial.replace(clip)
    shown.stage(f"scene: {scene.interactions} visitors in {scene.seconds:.0f} s")
    return clip


def _own_folder() -> Path:
    """A folder for this run, which stays for a look; those of runs that have ended go."""
    for old in FOLDER.glob("run-*"):
        if not Path("/proc", old.name.removeprefix("run-")).exists():
            shutil.rmtree(old, ignore_errors=True)
    own = FOLDER / f"run-{os.getpid()}"
    own.mkdir(parents=True)
    return own


def _uri(source: Path | str | None) -> str:
    """A clip by its whole path, anything else as it was given."""
    return str(Path(source).resolve()) if source and Path(source).is_file() else str(source)


if __name__ == "__main__":
    sys.exit(main())
