"""What the database knows of a study, as frozen values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from selection.study.changes import RecordedChange
from selection.study.data_facts import DataFacts
from selection.study.space import SearchSpace
from selection.study.space_file import read_space
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import TrialState

# The user attribute of Optuna's study with the recorded changes of its file, as JSON: Optuna's
# tools show and copy them.
CHANGES_ATTR = "selection_changes"


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """Hold one study as its file stands now, and the changes of its file since it began.

    Units: created_at is UTC, with its zone.
    """

    uuid: str
    name: str
    optuna_study_id: int
    spec_json: Mapping[str, Any]
    spec_fingerprint: str
    data_fingerprint: str
    held_out_fingerprint: str | None
    facts: DataFacts
    environment: Mapping[str, Any]
    created_at: datetime
    changes: tuple[RecordedChange, ...] = ()

    def spec(self) -> StudySpec:
        """Return the study file as it is on record, parsed once.

        Raises: StudyFileError where this version refuses it.
        """
        return self._spec

    @cached_property
    def _spec(self) -> StudySpec:
        # A study that began before there were recipes has every value of the one of then.
        return parse_study({"recipe": "book", **self.spec_json}, self.name)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, whatever else later versions ask of a study file."""
        return read_space(self.spec_json["space"], self.name)[0]

    @property
    def members_per_trial(self) -> int:
        """The number of folds that a complete trial has, over all repeats."""
        cv = self.spec_json["cv"]
        return int(cv["folds"]) * int(cv["repeats"])


@dataclass(frozen=True)
class StudySummary:
    """Hold one line of the list of studies."""

    name: str
    created_at: datetime
    counts: Mapping[TrialState, int]
    best_value: float | None
    budget: int


def record_from_row(row: Any) -> StudyRecord:
    """Return the study of a row of selection_study with Optuna's study_name and changes_json."""
    return StudyRecord(
        uuid=row.uuid,
        name=row.study_name,
        optuna_study_id=row.optuna_study_id,
        spec_json=json.loads(row.spec_json),
        spec_fingerprint=row.spec_fingerprint,
        data_fingerprint=row.data_fingerprint,
        held_out_fingerprint=row.held_out_fingerprint,
        facts=DataFacts.from_json(json.loads(row.facts_json)),
        environment=json.loads(row.environment_json),
        created_at=row.created_at.replace(tzinfo=UTC),
        changes=read_changes(row.changes_json) or (),
    )


def read_changes(text: str | None) -> tuple[RecordedChange, ...] | None:
    """Return the recorded changes of a study; None if another program has overwritten them."""
    try:
        return tuple(map(RecordedChange.from_json, json.loads(text or "[]")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
