"""What a run of the scenarios showed: from its JUnit file to figures with fixed names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


@dataclass(frozen=True)
class Scenario:
    """One scenario's outcome.

    Attributes:
        verdict: `passed`, `failed` or `not applicable`.
        why: the reason, when it is not `passed`.
        notes: the figures that it took down.
    """

    name: str
    verdict: str
    seconds: float
    why: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.name.removeprefix("test_").replace("_", " ")


@dataclass(frozen=True)
class Said:
    """A health record that arrived during a scenario."""

    scenario: str
    at_s: float
    health: dict[str, Any]


def one_after_another(parts: Sequence[Sequence[Said]]) -> list[Said]:
    """What several boards have said, each one's times moved behind those of the one before it."""
    found: list[Said] = []
    for part in parts:
        later = found[-1].at_s - part[0].at_s if found and part else 0.0
        found += [replace(each, at_s=each.at_s + later) for each in part]
    return found


@dataclass(frozen=True)
class Results:
    """One run on one rig."""

    rig: str
    title: str
    scenarios: list[Scenario]
    said: list[Said]
    samples: list[dict[str, Any]]
    last_soak: dict[str, Any] | None = None
    """Figures of a soak that ran by itself, with its own commit and date."""

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and anything was shown at all."""
        verdicts = {each.verdict for each in self.scenarios}
        return "passed" in verdicts and "failed" not in verdicts

    def figures(self) -> dict[str, Any]:
        """The report's figures; one that no scenario has shown is null."""
        notes = {name: value for each in self.scenarios for name, value in each.notes.items()}

        def number(name: str) -> float | None:
            return float(notes[name]) if name in notes else None

        def count(name: str) -> int | None:
            return int(notes[name]) if name in notes else None

        return {
            "rig": self.rig,
            "scenarios": [
                {"name": each.name, "passed": each.verdict == "passed", "seconds": each.seconds}
                for each in self.scenarios
                if each.verdict != "not applicable"
            ],
            "not_applicable": [
                {"name": each.name, "why": each.why}
                for each in self.scenarios
                if each.verdict == "not applicable"
            ],
            "power_cuts": count("power_cuts"),
            "roots_identical": count("roots_identical"),
            "numbers_reused": count("numbers_reused"),
            "traces_on_disk": count("traces_on_disk"),
            "image_mb": number("image_mb"),
            "boot_to_first_record_s": number("boot_to_first_record_s"),
            "soak": json.loads(notes["soak"]) if "soak" in notes else self.last_soak,
        }


def append(junit: Path, other: Path) -> None:
    """Put the scenarios of another JUnit file behind those of this one."""
    tree = ElementTree.parse(junit)  # noqa: S314 - our own
    tree.getroot().extend(ElementTree.parse(other).getroot())  # noqa: S314 - our own
    tree.write(junit, encoding="utf-8", xml_declaration=True)


def read(junit: Path) -> list[Scenario]:
    """The scenarios of a JUnit file, in the order in which they ran."""
    return [_scenario(case) for case in ElementTree.parse(junit).iter("testcase")]  # noqa: S314 - our own


def _scenario(case: ElementTree.Element) -> Scenario:
    notes = {
        each.get("name", ""): each.get("value", "") for each in case.iterfind("properties/property")
    }
    verdict, why = "passed", ""
    for kind in ("failure", "error", "skipped"):
        found = case.find(kind)
        if found is not None:
            why = found.get("message", "")
            verdict = "not applicable" if kind == "skipped" else "failed"
            break
    why = why.removeprefix("not applicable: ")
    return Scenario(case.get("name", ""), verdict, round(float(case.get("time", 0)), 1), why, notes)
