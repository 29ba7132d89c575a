"""The needles: every derived form of every visitor, looked for at four places of each visit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from msgspec import structs

from firmware.envelope import split
from firmware.errors import PrivacyError
from firmware.recipient import PrivateKey
from firmware.record import Interaction
from firmware.settings import Settings
from hil.traces.forms import EMPTY, Coded, Turn, Twin
from hil.traces.needles import Hit, Index
from hil.traces.subject import Watched
from hil.traces.visitors import LEAD, Programme, Visit

PHASES = ("before", "during", "after", "later")
"""Before the visit; while the visitor is in view; right after the wipe, or when vision is about to
leave the system; some empty frames later."""
RECORD = "record"
_LATER, _LAST = 4, 2
_READ_AHEAD = 2
"""The first frame of a visit is in the decoder's buffer one turn before it is decoded."""


@dataclass
class Findings:
    """What was found, in all visits.

    Attributes:
        interactions: visitors that were counted and sealed.
        visits: groups of visitors that were looked for.
        complete: interactions of those visits during which every kind was found in vision.
        needles: kind → needles indexed.
        hits: phase → kind → hits in all processes.
        missing: kind → visits during which it was not found.
        places: process, phase and place of what was found and should not be there.
        said: way out (`wire`, `log`, `disk`) → hits in what the sensor sent and wrote.
        said_bytes: way out → how much was looked through.
        ways_control: hits in an opened record, as they would be in one that is not sealed.
    """

    interactions: int = 0
    visits: int = 0
    complete: int = 0
    needles: Counter[str] = field(default_factory=Counter)
    hits: dict[str, Counter[str]] = field(default_factory=lambda: {p: Counter() for p in PHASES})
    missing: Counter[str] = field(default_factory=Counter)
    places: list[tuple[str, str, Hit]] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)
    said_bytes: Counter[str] = field(default_factory=Counter)
    ways_control: int = 0

    @property
    def left(self) -> int:
        """Hits in memory where and when there must be none."""
        return sum(hit.hits for _, _, hit in self.places)

    def add(self, other: Findings) -> None:
        """Take in what another clip gave."""
        self.interactions += other.interactions
        self.visits += other.visits
        self.complete += other.complete
        self.ways_control += other.ways_control
        self.places += other.places
        for mine, theirs in (
            (self.needles, other.needles),
            (self.missing, other.missing),
            (self.said, other.said),
            (self.said_bytes, other.said_bytes),
            *((self.hits[phase], other.hits[phase]) for phase in PHASES),
        ):
            mine.update(theirs)


@dataclass(order=True)
class _Look:
    """A search that is due when vision has done so many frames and sealed so many records."""

    frames: int
    place: int
    phase: str
    sealed: int


class Examination:
    """A clip played to a sensor and to its twin, and a search at four places of each visit.

    Args:
        settings, script: of the clip.
        key: opens the records, whose text is looked for too.
        progress: told about each visit.

    Attributes:
        expected: for each visit under way, kinds that must be found while it is looked at.
    """

    def __init__(
        self,
        settings: Settings,
        script: Programme,
        key: PrivateKey,
        progress: Callable[[Findings], None] = lambda _: None,
    ) -> None:
        self.findings = Findings()
        self._script = script
        self._key = key
        self._progress = progress
        self._sealed = self._opened = 0
        self._twin = Twin(settings)
        self._turns = self._twin.turns()
        self._coded = Coded(Path(settings.source.uri))
        # Two visits can be under way at once; the third index is the last visitor's.
        self._indexes = tuple(Index() for _ in range(_LAST + 1))
        self.expected: list[set[str]] = [set() for _ in self._indexes]
        while next(self._turns).frame < LEAD - 2:
            pass
        # What every record says, and the health record too.
        nobody = Interaction(start_utc_s=0, dwell_ms=0, model_set=self._twin.model_set)
        each = (structs.replace(nobody, clock_synchronised=known) for known in (True, False))
        words = b"".join(map(msgspec.json.encode, each))
        for index in self._indexes:
            self._twin.index_empty(index)
            self._coded.index_empty(index)
            index.add(EMPTY, np.frombuffer(words, np.uint8), words=2, step=1)
            index.keep()

    def run(self, subject: Watched) -> Findings:
        """Look for those who come and leave, up to the last visit."""
        for group in _groups(self._script):
            self._group = group
            self._looks = sorted(self._prepare(group))
            self._search(subject)
        return self.findings

    def interrupt(self, subject: Watched, *, terminate: bool) -> Findings:
        """Look for the last visitor while in view, and when vision has come to its end.

        Args:
            terminate: the sensor is told to stop in mid-interaction; otherwise the clip must end
                there, and the exception runs through vision.
        """
        visit = self._script.last
        self._indexes[_LAST].clear()
        for turn in self._turns:
            if turn.frame >= visit.marked[0]:
                self._index(_LAST, turn.frame, looked_at=visit.marked[1] - 1)
            if turn.frame == visit.marked[1] - 1:
                break
        before = self._sealed
        self._sealed += len(self._twin.pipeline.finish())
        self._last_looks = (
            _Look(visit.marked[0] - _READ_AHEAD, _LAST, "before", before),
            _Look(visit.marked[1], _LAST, "during", before),
            _Look(visit.marked[1], _LAST, "after", self._sealed),
        )
        self._search_last(subject, terminate=terminate)
        return self.findings

    def again(self, subject: Watched) -> Findings:
        """Look for the last group and the last visitor, who must have been looked for, in another
        sensor; that one is told to stop in mid-interaction."""
        self.findings = Findings()
        self._opened = 0
        self._search(subject)
        self._search_last(subject, terminate=True)
        return self.findings

    def close(self) -> None:
        self._twin.close()
        self._coded.close()

    def _search(self, subject: Watched) -> None:
        during = [Counter[str]() for _ in self._indexes]
        for look in self._looks:
            subject.run_to(look.frames)
            self._look(subject, look, during)
        self._conclude(subject, list(enumerate(self._group)), during)

    def _search_last(self, subject: Watched, *, terminate: bool) -> None:
        during = [Counter[str]() for _ in self._indexes]
        for look in self._last_looks:
            if look.phase != "after":
                subject.run_to(look.frames)
            elif not subject.run_to_exit(terminate=terminate):
                raise PrivacyError("vision was killed", remedy="look for what else runs here")
            self._look(subject, look, during)
        self._conclude(subject, [(_LAST, self._script.last)], during)

    def _look(self, subject: Watched, look: _Look, during: list[Counter[str]]) -> None:
        found = self.findings
        index = self._indexes[look.place]
        with subject.at_rest(look.sealed) as processes:
            if look.phase == "after":
                for envelope in subject.sealed[self._opened :]:
                    self._index_record(index, envelope)
                self._opened = len(subject.sealed)
            for name, pid in processes.items():
                hits = [hit for hit in index.search(pid) if hit.kind != EMPTY]
                for hit in hits:
                    if look.phase == "during" and name == "vision":
                        during[look.place][hit.kind] += hit.hits
                    else:
                        found.places.append((name, look.phase, hit))
                    found.hits[look.phase][hit.kind] += hit.hits

    def _prepare(self, group: tuple[Visit, ...]) -> Iterator[_Look]:
        """Play the group's frames to the twin, index what they leave, and say when to look."""
        for index, _ in zip(self._indexes, group, strict=False):
            index.clear()
        ended, open_visits = 0, list(enumerate(group))
        last_looks: dict[int, int] = {}
        for turn in self._turns:
            for place, visit in enumerate(group):
                if visit.others and visit.marked[1] <= turn.frame < last_looks.get(place, 1 << 31):
                    self._twin.excuse(self._indexes[place])
            for place, visit in open_visits:
                if visit.marked[0] <= turn.frame < visit.marked[1]:
                    self._index(place, turn.frame, looked_at=visit.marked[1] - 2)
            ended += len(turn.ended)
            self._sealed += len(turn.ended)
            if turn.ended and self._is_over(open_visits[0][1], turn, ended):
                place, visit = open_visits.pop(0)
                ended = 0
                yield _Look(group[0].marked[0] - _READ_AHEAD, place, "before", 0)
                yield _Look(visit.marked[1] - 1, place, "during", 0)
                yield _Look(turn.frame + 1, place, "after", self._sealed)
                last_looks[place] = turn.frame + 1 + _LATER
                yield _Look(last_looks[place], place, "later", self._sealed)
            if not open_visits:
                return

    def _index(self, place: int, frame: int, *, looked_at: int) -> None:
        index = self._indexes[place]
        earlier = dict(index.counts)
        self._twin.index(index, deep=frame == looked_at)
        self._coded.index(index, frame)
        if frame == looked_at:
            new = {kind for kind, count in index.counts.items() if count > earlier.get(kind, 0)}
            self.expected[place] = new

    @staticmethod
    def _is_over(visit: Visit, turn: Turn, ended: int) -> bool:
        return ended >= visit.interactions or not turn.followed

    def _index_record(self, index: Index, envelope: bytes) -> None:
        _, header, ciphertext = split(envelope)
        text = self._key.decrypt(ciphertext, header)
        # A health record says its own time, which may be this one.
        for time in re.findall(rb'utc_s":\d+,"', text):
            index.add(EMPTY, np.frombuffer(time, np.uint8), words=2, step=1)
        index.add(RECORD, np.frombuffer(text, np.uint8), words=2, step=1)
        self.findings.ways_control += index.search_bytes(text).get(RECORD, 0)

    def _conclude(
        self, subject: Watched, visits: list[tuple[int, Visit]], during: list[Counter[str]]
    ) -> None:
        said = subject.said()
        for place, visit in visits:
            index, absent = self._indexes[place], self.expected[place] - during[place].keys()
            self.findings.visits += 1
            self.findings.complete += 0 if absent else visit.interactions
            self.findings.missing.update(absent)
            self.findings.needles.update({k: n for k, n in index.counts.items() if k != EMPTY})
            for way, content in said.items():
                hits = index.search_bytes(content)
                self.findings.said[way] += sum(n for kind, n in hits.items() if kind != EMPTY)
        self.findings.said_bytes.update({way: len(content) for way, content in said.items()})
        self.findings.interactions = len(subject.sealed)
        self._progress(self.findings)


def _groups(script: Programme) -> Iterator[tuple[Visit, ...]]:
    """Visits one by one, but those that overlap together."""
    visits = iter(script.visits)
    for visit in visits:
        yield (visit, next(visits)) if visit.others else (visit,)
