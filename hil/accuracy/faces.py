"""Figures about age, gender and expression, over all faces and over each group of them.

A face that the detector does not see counts as wrong everywhere but in the mean age error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.record import Expression, Gender
from hil.accuracy.labelled import Person, Shown, read
from hil.accuracy.stills import Visitor

BUCKETS = ("<16", "16-24", "25-34", "35-44", "45-54", "55-64", "65+")
_EDGES = (16, 25, 35, 45, 55, 65)
ADULT = 18

GENDERS = [gender.value for gender in Gender if gender is not Gender.UNKNOWN]
EXPRESSIONS = [shown.value for shown in Expression if shown is not Expression.UNKNOWN]
KINDS = {"happy": "happy", "neutral": "neutral", "surprise": "surprise"}
"""The four groups of expressions: these three, and `negative` for all others."""

GROUPINGS: dict[str, Callable[[Person], str]] = {
    "all": lambda _: "all",
    "gender": lambda person: person.gender,
    "age": lambda person: BUCKETS[int(buckets(np.array([person.age]))[0])],
    "race": lambda person: person.race,
}

Floats = NDArray[np.float64]
Group = dict[str, Any]


def age_and_gender(
    people: Sequence[Person], visitor: Visitor, step: Callable[[], None]
) -> tuple[dict[str, float], dict[str, float], list[Group]]:
    """Figures of age, of gender, and groups by gender, age bin and race."""
    years, male = [], []
    for person in people:
        answers = visitor.look(read(person.path))
        step()
        years.append(float(answers["age"][0]) if answers else np.nan)
        male.append(float(answers["gender"][GENDERS.index("male")]) if answers else np.nan)
    columns = _Columns(people, np.array(years), np.array(male))
    everybody = columns.figures(np.ones(len(people), bool))
    adults = columns.figures(columns.age >= ADULT)
    names = ("mae_natural", "mae_balanced", "bucket_natural", "within_one_natural")
    age = {name: everybody[name] for name in names}
    gender = {
        "accuracy_natural": everybody["gender_natural"],
        "accuracy_adults": adults["gender_natural"],
    }
    groups = []
    for by, grouped in GROUPINGS.items():
        values = np.array([grouped(person) for person in people])
        for group in sorted(set(values.tolist()), key=_order):
            of_group = columns.figures(values == group)
            groups.append({"of": "age_gender", "by": by, "group": group} | of_group)
    return age, gender, groups


def expression(
    shown: Sequence[Shown], visitor: Visitor, step: Callable[[], None]
) -> tuple[dict[str, float], list[Group]]:
    """Figures of expression, and groups by the expression that was labelled."""
    given: list[str] = []
    for face in shown:
        # The pictures are 48 pixels wide: shown at twice that, a face is some 75 pixels high.
        picture = cv2.resize(read(face.path), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        answers = visitor.look(np.asarray(picture, np.uint8))
        step()
        given.append(EXPRESSIONS[int(answers["expression"].argmax())] if answers else "")
    labelled = [face.expression for face in shown]
    pairs = list(zip(labelled, given, strict=True))
    figures = {
        "accuracy_7": _share(a == b for a, b in pairs),
        "accuracy_4": _share(b != "" and _kind(a) == _kind(b) for a, b in pairs),
    }
    groups: list[Group] = [
        {"of": "expression", "by": "expression", "group": group, "count": labelled.count(group)}
        | {"seen": sum(a == group and b != "" for a, b in pairs)}
        | {"recall": _share(b == group for a, b in pairs if a == group)}
        for group in EXPRESSIONS
    ]
    return figures, groups


def buckets(years: Floats) -> NDArray[np.intp]:
    """Index into `BUCKETS` of whole years."""
    return np.searchsorted(_EDGES, np.round(years), side="right")


class _Columns:
    """Labels and errors, one row for each person; a face that was not seen has no age error."""

    def __init__(self, people: Sequence[Person], years: Floats, male: Floats) -> None:
        self.age = np.array([person.age for person in people])
        self.weight = np.array([person.natural_weight for person in people])
        self.seen = ~np.isnan(years)
        self.error = np.abs(years - self.age)
        self.apart = np.abs(buckets(years) - buckets(self.age))
        is_male = np.array([person.gender == "male" for person in people])
        self.right = self.seen & ((male > 0.5) == is_male)

    def figures(self, chosen: NDArray[np.bool_]) -> dict[str, float]:
        """Of the chosen rows; `natural` weighs them, `balanced` does not."""
        weight = self.weight[chosen] / max(self.weight[chosen].sum(), 1e-9)
        measured = chosen & self.seen
        error, share = self.error[measured], self.weight[measured]
        seen, apart = self.seen[chosen], self.apart[chosen]
        return {
            "count": int(chosen.sum()),
            "seen": int(measured.sum()),
            "mae_natural": float(error @ share / max(share.sum(), 1e-9)),
            "mae_balanced": float(error.mean()) if len(error) else 0.0,
            "bucket_natural": float((seen & (apart == 0)) @ weight),
            "within_one_natural": float((seen & (apart <= 1)) @ weight),
            "gender_natural": float(self.right[chosen] @ weight),
        }


def _share(right: Iterable[bool]) -> float:
    values = list(right)
    return sum(values) / max(len(values), 1)


def _kind(name: str) -> str:
    return KINDS.get(name, "negative")


def _order(group: str) -> tuple[int, str]:
    """Age bins by age, other groups by name."""
    return (BUCKETS.index(group) if group in BUCKETS else -1, group)
