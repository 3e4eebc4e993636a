"""In what two versions of a study's file differ, and what was changed after its first trial.

Until its held-out set is opened, a study may get more trials and more time, and be read by another
rule or at another level. Each such change is recorded with the number of trials it found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from selection.errors import show
from selection.study.trial import Trial

TRIALS = "search.trials"
RULE = "selection.rule"
# How the record is read.
READINGS = (RULE, "assessment.level", "assessment.bootstraps", "assessment.rope")
RECORDED = (TRIALS, "search.timeout_seconds", *READINGS)


@dataclass(frozen=True)
class Difference:
    """Hold one key, as section.key, that has another value in a later version of a file."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {show(self.before)} -> {show(self.after)}"


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[Difference]:
    """Return the keys in which two studies differ, in alphabetical order."""
    return list(_differences(old, new, prefix))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str
) -> Iterator[Difference]:
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        name = f"{prefix}{key}"
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{name}.")
        elif before != after:
            yield Difference(name, before, after)


@dataclass(frozen=True)
class RecordedChange:
    """Hold a change of the file of a study that had begun.

    trials is the number of trials that had begun by then.

    Units: at is UTC, with its zone.
    """

    difference: Difference
    at: datetime
    trials: int

    def to_json(self) -> dict[str, Any]:
        """Return the change as JSON, as the record and `best --json` have it."""
        return {
            "key": self.difference.key,
            "from": self.difference.before,
            "to": self.difference.after,
            "at": self.at.isoformat(),
            "trials": self.trials,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RecordedChange:
        """Return the change that to_json() described.

        Raises: KeyError, TypeError or ValueError if it is none.
        """
        counts = [value["trials"]]
        if value["key"] == TRIALS:
            counts += [value["from"], value["to"]]
        if not isinstance(value["key"], str) or not all(isinstance(each, int) for each in counts):
            raise TypeError("a key and numbers of trials")
        difference = Difference(value["key"], value["from"], value["to"])
        at = datetime.fromisoformat(value["at"]).astimezone(UTC)
        return cls(difference, at, value["trials"])


def departures(
    changes: Sequence[RecordedChange], trials: Sequence[Trial], cohort: int
) -> list[int]:
    """Return the trials from which a study is not the one with its whole budget from the start.

    Proposals depend on finished trials alone, cohort by cohort. So more trials continue a study
    exactly, unless the budget before had ended inside a cohort: the rest of that cohort was never
    proposed, and the trials that follow belong to the next one. cohort is the size of a whole one.
    """
    # A trial that was asked for may have a smaller number than those of an earlier cohort.
    trials = sorted(trials, key=lambda trial: (trial.cohort, trial.number))
    sizes = Counter(trial.cohort for trial in trials)
    budgets = {each.difference.before for each in changes if each.difference.key == TRIALS}
    borders = [(trials[budget - 1], trials[budget]) for budget in budgets if budget < len(trials)]
    return sorted(
        first.number
        for last, first in borders
        if last.cohort != first.cohort and sizes[last.cohort] < cohort
    )
