"""Vision with an ingredient taken away, put through the proof: what notices that?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from firmware import launcher
from firmware.recipient import PrivateKey
from hil.traces import account, altered, apart, planted, proof, visitors
from hil.traces.ingredients import Ingredient, Row
from hil.traces.subject import Subject, rules
from hil.traces.visits import Examination, Findings


class Bench:
    """One clip in which somebody leaves another, and one who is in view at the end.

    Args:
        folder: holds the clips of `hil.traces.mutations`.
        seed: of the programme.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._clip = folder / "visits.mp4"
        self._pair = proof.clips(folder)
        self._seed = seed
        self._key = PrivateKey.generate()
        self._tell = apart.tell("mutations")
        script = visitors.programme(3, seed, begins=visitors.ONE_STAYS)
        self._examination = Examination(rules(self._clip), script, self._key)

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._examination.close()

    def shipped(self) -> Row:
        """The control: nothing is taken away, and nothing may be noticed."""
        with Subject(rules(self._clip), self._key) as subject:
            self._examination.run(subject)
            findings = self._examination.interrupt(subject, terminate=True)
            row = self._row("as shipped", subject, findings)
        return row._replace(
            planted={kind: planted.found(kind) for kind in planted.PLANTS},
            failure="" if findings.complete == 3 else "a kind was not found",
        )

    def without(self, ingredient: Ingredient) -> Row:
        try:
            with self._start(ingredient.code, ingredient.variables) as subject:
                row = self._row(ingredient.name, subject, self._examination.again(subject))
        except Exception as error:
            row = Row(ingredient.name, failure=type(error).__name__)
        if not row.hits and not row.failure and not ingredient.limits:
            for compare in (proof.of_one, proof.of_leaver):
                found = compare(self._pair, self._seed, ingredient.code, ingredient.variables)
                row = row._replace(difference=found.total)
                if found.total > account.MOST_AB_BYTES:
                    break
            if not row.noticed:
                left = {kind: planted.found(kind, ingredient.code) for kind in ingredient.clears}
                row = row._replace(planted=left)
        self._tell(f"{ingredient.name}: {row.says}")
        return row

    def without_fills(self, code: str) -> dict[str, Any]:
        """With no buffer filled by anybody: which of them the needles found afterwards."""
        with self._start(code, {}) as subject:
            found = self._hits(self._examination.again(subject))
        expected = {kind for kinds in self._examination.expected for kind in kinds if "." in kind}
        buffers = {kind for kind in expected if not kind.endswith("activations")}
        return {"noticed": sorted(buffers & found.keys()), "not": sorted(buffers - found.keys())}

    def _start(self, code: str, variables: Any) -> Subject:
        like = launcher.environment("vision")
        return Subject(
            rules(self._clip), self._key, lambda: altered.start(code, variables, like=like)
        )

    def _row(self, name: str, subject: Subject, findings: Findings) -> Row:
        broken = tuple(name for name, holds in subject.guarantees.items() if not holds)
        return Row(name, broken, dict(self._hits(findings)))

    @staticmethod
    def _hits(findings: Findings) -> Counter[str]:
        found: Counter[str] = Counter()
        for _, _, hit in findings.places:
            found[hit.kind] += hit.hits
        return found
