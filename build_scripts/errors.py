"""The one way in which building fails: it names the thing and what to do about it."""

from __future__ import annotations


class BuildError(Exception):
    """Something that a build needs is missing, altered or refused.

    Args:
        problem: what is wrong, by name.
        remedy: an instruction.
    """

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  remedy: {self.remedy}"
