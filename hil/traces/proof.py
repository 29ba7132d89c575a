"""The parts of the proof: what is done to the sensor, and what must then be true.

Each part takes the clips that were drawn for it and gives figures; hil/traces/account.py holds them
against what was promised.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from firmware.errors import PrivacyError
from firmware.recipient import PrivateKey
from hil.scenes.render import Scene
from hil.scenes.script import STANDARD, load
from hil.scenes.source import write_video
from hil.traces import altered, difference, path, rights, visitors
from hil.traces.difference import Comparison, Difference, Snapshot
from hil.traces.sensor import Sensor
from hil.traces.subject import Subject, rules
from hil.traces.visitors import Programme
from hil.traces.visits import Examination, Findings

SCENE = STANDARD / "four_visitors.scene"
SHORT, FULL = 9, 47
"""Interactions in the long clip; those in the clip that is cut come to them."""
IN_CUT = 3
_MOST_TRIES = 20

NO_WIPE = """
from firmware.vision import wiping
wiping.everything = lambda engines, source: source.release()
wiping.of_leavers = lambda engines: None
"""
"""Nothing but the clip is let go, which is how the proof sees that vision rests."""
NO_ZERO_RUN = """
from firmware.drivers import onnx_engine
from firmware.vision import memory
def scrub(self):
    self.input.fill(0)
    memory.wipe(self._owner)
onnx_engine.OnnxEngine.scrub = scrub
"""
NO_STACK_SCRUB = """
from firmware.vision import wiping
class Spared:
    def __getattr__(self, name): return getattr(kept, name)
    def scrub_stack(self): return 1
    def scrub_registers(self): pass
kept, wiping._native = wiping._native, Spared()
"""


class Clips(NamedTuple):
    """What the sensor is shown.

    Attributes:
        many: visitors who come and leave, alone, together and one after the other; the last one is
            in view when the sensor is stopped.
        cut: a few more, and a file that ends in mid-interaction.
        alone, alone_too: the same visitor at the same place and time, with other pixels.
        leaver, leaver_too: the same for one who leaves while another stays.
        scene: what a sensor sees in a minute of a day, for what privacy costs.
    """

    many: Path
    cut: Path
    alone: Path
    alone_too: Path
    leaver: Path
    leaver_too: Path
    scene: Path


def clips(folder: Path) -> Clips:
    return Clips(*(folder / f"{name}.mp4" for name in Clips._fields))


def draw(folder: Path, interactions: int, seed: int, *, scene: bool) -> None:
    """Write the clips; takes about a second for each interaction.

    Args:
        scene: the clip for the costs as well.
    """
    made = clips(folder)
    visitors.write(made.many, visitors.programme(interactions, seed))
    visitors.write(made.cut, visitors.programme(IN_CUT, seed + 1), cut=True)
    draw_pairs(folder, seed)
    if scene:
        write_video(Scene(load(SCENE)), made.scene)


def draw_pairs(folder: Path, seed: int) -> None:
    """Write the clips that are compared: other pixels, for which the program does the same.

    Raises:
        PrivacyError: no such pixels were found.
    """
    made = clips(folder)
    one, two = _pair_scripts(seed)
    for clip, other, script, frames in (
        (made.alone, made.alone_too, one, _alone_until(one)),
        (made.leaver, made.leaver_too, two, _leaver_until(two)),
    ):
        drawn: dict[bytes, int] = {}
        for pixels in range(_MOST_TRIES):
            visitors.write(other, script, seed=pixels, level=True)
            way = path.of(other, frames)
            if way in drawn:
                visitors.write(clip, script, seed=drawn[way], level=True)
                break
            drawn[way] = pixels
        else:
            raise PrivacyError(
                f"no two clips for which the program does the same (seed {seed})",
                remedy="run the proof with another --seed",
            )


def _pair_scripts(seed: int) -> tuple[Programme, Programme]:
    """Of one visitor who is in view to the end, and of one who leaves another."""
    one = visitors.programme(1, seed + 2)
    return one, visitors.programme(3, seed + 3, begins=visitors.ONE_STAYS)


def _alone_until(script: Programme) -> int:
    """Turns of vision until everything is wiped although somebody is in view."""
    return script.last.marked[1] - 1


def _leaver_until(script: Programme) -> int:
    """Turns until one has left and another is still in view."""
    return script.visits[1].marked[1] - 1


@dataclass
class Outcome:
    """What the run of the whole sensor showed.

    Attributes:
        expected: interactions that took place.
        kept_files: on the identity partition, names of those that the sensor changed.
    """

    findings: Findings = field(default_factory=Findings)
    expected: int = 0
    kept_files: set[str] = field(default_factory=set)
    swap_bytes: int = 0
    guarantees: dict[str, bool] = field(default_factory=dict)


def whole_sensor(made: Clips, interactions: int, seed: int, tell: Callable[[str], None]) -> Outcome:
    """Needles, wire, log and disk, over all three processes, to an orderly stop and a failure.

    Raises:
        PrivacyError: the sensor does not start, or may not be traced.
    """
    outcome = Outcome()
    for clip, count, first, terminate in (
        (made.many, interactions, seed, True),
        (made.cut, IN_CUT, seed + 1, False),
    ):
        script = visitors.programme(count, first)
        folder = rights.OWN / clip.stem
        folder.mkdir()
        with Sensor(folder, clip) as sensor:
            examination = Examination(
                rules(clip),
                script,
                PrivateKey.load(sensor.key_file),
                progress=lambda found: tell(
                    f"{outcome.findings.interactions + found.interactions} interactions, "
                    f"{outcome.findings.left + found.left} hits after the wipe"
                ),
            )
            examination.run(sensor)
            outcome.findings.add(examination.interrupt(sensor, terminate=terminate))
            examination.close()
            outcome.expected += script.interactions
            outcome.kept_files |= set(sensor.kept_files)
            outcome.swap_bytes = max(outcome.swap_bytes, sensor.swap_bytes)
            outcome.guarantees |= sensor.guarantees
    return outcome


def crash(made: Clips, seed: int) -> bool:
    """Let vision crash while somebody is in view. Returns whether a core was written."""
    script, _ = _pair_scripts(seed)
    with Subject(rules(made.alone), _KEY) as subject:
        subject.run_to(script.last.marked[1] - 1)
        return subject.crash()


def seen_writes() -> int:
    """Control of the search for written files: how many of three that a child writes are seen."""
    known = set(rights.written())
    places = [rights.HOME / "control", Path("/var/tmp/control"), Path("control")]  # noqa: S108
    writing = "import sys; [open(path, 'w').write('x') for path in sys.argv[1:]]"
    subprocess.run([sys.executable, "-c", writing, *map(str, places)], check=True)
    seen = len(set(rights.written()) - known)
    for place in places:
        place.unlink()
    return seen


class Differences(NamedTuple):
    """Bytes of vision's memory after a wipe that follow the pixels.

    Attributes:
        shipped: between two clips with other pixels, after a wipe while somebody is in view.
        null: between two runs on one clip.
        no_wipe: as `shipped`, without any wipe.
        on_stack: on the stack, when neither its scrub nor the engines' run on zeros overwrites it;
            either of the two is enough.
        leaver: as `shipped`, when somebody has left another who stays.
        places: where `shipped` and `leaver` differ.
    """

    shipped: int
    null: int
    no_wipe: int
    on_stack: int
    leaver: int
    places: tuple[tuple[str, int, int], ...]


def differences(made: Clips, seed: int, tell: Callable[[str], None]) -> Differences:
    """Compare runs of vision byte by byte, as shipped and with parts of the wipe taken away."""
    tell("as shipped")
    left = partial(_left_by_one, seed=seed)
    first = [left(made.alone) for _ in range(4)]
    shipped = Comparison(*first[:2])
    null = shipped.difference(*first[2:])
    if null.total:  # a word that varies by itself, and did not in the first two: it is known now
        shipped = Comparison(*first)
        null = shipped.difference(*(left(made.alone) for _ in range(2)))
    found = shipped.difference(*(left(made.alone_too) for _ in range(2)))
    tell(f"as shipped: {found.total} bytes; one leaves, another stays")
    leaver = of_leaver(made, seed)
    tell(f"one leaves, another stays: {leaver.total} bytes; without a wipe")
    no_wipe = of_one(made, seed, NO_WIPE).total
    tell(f"without a wipe: {no_wipe} bytes; with the stack left alone")
    on_stack = of_one(made, seed, NO_ZERO_RUN + NO_STACK_SCRUB).within("[stack]")
    return Differences(
        found.total,
        null.total,
        no_wipe,
        on_stack,
        leaver.total,
        found.places + leaver.places,
    )


def of_one(
    made: Clips, seed: int, code: str = "", variables: Mapping[str, str | None] | None = None
) -> Difference:
    """The difference that a visitor makes who was in view when everything was wiped.

    Args:
        code, variables: see `altered.start`.
    """
    left = partial(_left_by_one, seed=seed, code=code, variables=variables)
    comparison = Comparison(left(made.alone), left(made.alone))
    return comparison.difference(left(made.alone_too), left(made.alone_too))


def of_leaver(
    made: Clips, seed: int, code: str = "", variables: Mapping[str, str | None] | None = None
) -> Difference:
    """The difference that one makes who has left another; the other's pixels are the same."""
    left = partial(_left_by_leaver, seed=seed, code=code, variables=variables)
    comparison = Comparison(left(made.leaver), left(made.leaver))
    return comparison.difference(left(made.leaver_too), left(made.leaver_too))


def _left_by_one(
    clip: Path, seed: int, code: str = "", variables: Mapping[str, str | None] | None = None
) -> Snapshot:
    script, _ = _pair_scripts(seed)
    return _left(clip, _alone_until(script), code, variables, rest=True)


def _left_by_leaver(
    clip: Path, seed: int, code: str = "", variables: Mapping[str, str | None] | None = None
) -> Snapshot:
    _, script = _pair_scripts(seed)
    return _left(clip, _leaver_until(script), code, variables, rest=False)


def _left(
    clip: Path,
    frames: int,
    code: str,
    variables: Mapping[str, str | None] | None,
    *,
    rest: bool,
) -> Snapshot:
    shown = rights.OWN / "shown.mp4"  # one name for both clips: memory holds it
    shutil.copyfile(clip, shown)
    like = difference.repeatable()
    return difference.left_by(
        lambda: Subject(rules(shown), _KEY, lambda: altered.start(code, variables, like=like)),
        frames,
        rest=rest,
    )


_KEY = PrivateKey.generate()
