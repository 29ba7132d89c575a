"""The needles: every derived form of every visitor, looked for at four places of each visit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from firmware.envelope import split
from firmware.recipient import PrivateKey
from firmware.record import Interaction
from firmware.settings import Settings
from hil.traces.forms import EMPTY, Coded, Turn, Twin
from hil.traces.needles import Hit, Index
from hil.traces.subject import Subject
from hil.traces.visitors import Programme, Visit

PHASES = ("before", "during", "after", "later")
"""Before the visit; while the visitor is in view; right after the wipe; some empty frames later."""
RECORD = "record"
_LATER = 4


@dataclass
class Findings:
    """What was found, in all visits.

    Attributes:
        interactions: visitors that were counted and sealed.
        visits: groups of visitors that were looked for.
        complete: visits during which every kind was found.
        needles: kind → needles indexed.
        hits: phase → kind → hits.
        missing: kind → visits during which it was not found.
        places: where something was found after a wipe.
    """

    interactions: int = 0
    visits: int = 0
    complete: int = 0
    needles: Counter[str] = field(default_factory=Counter)
    hits: dict[str, Counter[str]] = field(default_factory=lambda: {p: Counter() for p in PHASES})
    missing: Counter[str] = field(default_factory=Counter)
    places: list[Hit] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Hits in every phase but the one in which they must be."""
        return sum(self.hits[phase].total() for phase in PHASES if phase != "during")


@dataclass(order=True)
class _Look:
    """A search that is due when vision has done so many frames."""

    frames: int
    place: int
    phase: str


class Examination:
    """A clip played to vision and to its twin, and a search at four places of each visit.

    Args:
        settings, script: of the clip.
        key: opens the records, whose text is looked for too.
        progress: told about each visit.
    """

    def __init__(
        self,
        settings: Settings,
        script: Programme,
        key: PrivateKey,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.findings = Findings()
        self._script = script
        self._key = key
        self._progress = progress
        self._twin = Twin(settings)
        self._turns = self._twin.turns()
        self._coded = Coded(Path(settings.source.uri))
        # Two visits can be under way at once.
        self._indexes = (Index(), Index())
        self._expected: list[set[str]] = [set(), set()]
        while next(self._turns).frame < script.visits[0].marked[0] - 2:
            pass
        for index in self._indexes:
            self._twin.index_empty(index)
            self._coded.index_empty(index)
            words = msgspec.json.encode(Interaction(start_utc_s=0, dwell_ms=0))
            index.add(EMPTY, np.frombuffer(words, np.uint8), words=2, step=1)
            index.keep()

    def run(self, subject: Subject) -> Findings:
        """Look through `subject` to the end of the clip."""
        opened = 0
        for group in _groups(self._script):
            looks = sorted(self._prepare(group))
            during: list[Counter[str]] = [Counter() for _ in group]
            for look in looks:
                subject.run_to(look.frames)
                index = self._indexes[look.place]
                if look.phase == "after":
                    for envelope in subject.sealed[opened:]:
                        self._index_record(index, envelope)
                    opened = len(subject.sealed)
                hits = [hit for hit in index.search(subject.pid) if hit.kind != EMPTY]
                for hit in hits:
                    self.findings.hits[look.phase][hit.kind] += hit.hits
                    if look.phase == "during":
                        during[look.place][hit.kind] += hit.hits
                    else:
                        self.findings.places.append(hit)
            self._conclude(during)
            self.findings.interactions = len(subject.sealed)
            self._progress(f"{self.findings.interactions} interactions: {self.findings.left} hits")
        return self.findings

    def close(self) -> None:
        self._twin.close()
        self._coded.close()

    def _prepare(self, group: tuple[Visit, ...]) -> Iterator[_Look]:
        """Play the group's frames to the twin, index what they leave, and say when to look."""
        for index, _ in zip(self._indexes, group, strict=False):
            index.clear()
        ended, open_visits = 0, list(enumerate(group))
        for turn in self._turns:
            for place, visit in open_visits:
                if visit.marked[0] <= turn.frame < visit.marked[1]:
                    self._index(place, turn.frame, looked_at=visit.marked[1] - 2)
            ended += len(turn.ended)
            if turn.ended and self._is_over(open_visits[0][1], turn, ended):
                place, visit = open_visits.pop(0)
                ended = 0
                if place == 0:  # the second one's forms are there before it is alone in view
                    yield _Look(visit.marked[0] - 1, place, "before")
                yield _Look(visit.marked[1] - 1, place, "during")
                yield _Look(turn.frame + 1, place, "after")
                yield _Look(turn.frame + 1 + _LATER, place, "later")
            if not open_visits:
                return

    def _index(self, place: int, frame: int, *, looked_at: int) -> None:
        index = self._indexes[place]
        earlier = dict(index.counts)
        self._twin.index(index, deep=frame == looked_at)
        self._coded.index(index, frame)
        if frame == looked_at:
            new = {kind for kind, count in index.counts.items() if count > earlier.get(kind, 0)}
            self._expected[place] = new

    @staticmethod
    def _is_over(visit: Visit, turn: Turn, ended: int) -> bool:
        return ended >= visit.interactions or not turn.followed

    def _index_record(self, index: Index, envelope: bytes) -> None:
        _, header, ciphertext = split(envelope)
        text = self._key.decrypt(ciphertext, header)
        index.add(RECORD, np.frombuffer(text, np.uint8), words=2, step=1)

    def _conclude(self, during: list[Counter[str]]) -> None:
        for place, found in enumerate(during):
            absent = self._expected[place] - found.keys()
            self.findings.visits += 1
            self.findings.complete += not absent
            self.findings.missing.update(absent)
            counts = self._indexes[place].counts
            self.findings.needles.update({kind: n for kind, n in counts.items() if kind != EMPTY})


def _groups(script: Programme) -> Iterator[tuple[Visit, ...]]:
    """Visits one by one, but those that overlap together."""
    visits = iter(script.visits)
    for visit in visits:
        yield (visit, next(visits)) if visit.others else (visit,)
