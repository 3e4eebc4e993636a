"""Small sweeps on a real data set and a real database, without the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selection.store.database import Database, open_database
from selection.store.leases import Worker, new_worker
from selection.store.repository import repository_of
from selection.store.study_record import StudyRecord
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Trial
from selection.train.device import choose_device, describe_device
from selection.workflows.assess import Assessment, assess_study
from selection.workflows.audit import audit_pruned
from selection.workflows.run import run_procedure
from selection.workflows.study_data import (
    StudyData,
    enter_study,
    load_study_data,
    make_trainer,
    row_facts,
)
from selection.workflows.sweep import SweepNews, run_sweep


def make_spec(sections: dict[str, Any] | None = None, **search: Any) -> StudySpec:
    """Return a study of iris; search are keys of [search], sections replace whole sections."""
    content: dict[str, Any] = {
        "name": "iris",
        "data": {"dataset": "iris"},
        "cv": {"folds": 3},
        "training": {"epochs": 4, "batch_size": 16},
        "space": {
            "width": {"low": 2, "high": 16},
            "learning_rate": {"low": 0.01, "high": 1.0, "log": True},
        },
        "search": {
            "trials": 9,
            "cohort": 4,
            "pruner_options": {"min_resource": 1, "reduction_factor": 2, "finalists": 0},
        },
    }
    space = search.pop("space", None)
    content["search"] |= search
    if space is not None:
        content["space"] = space
    return parse_study({**content, **(sections or {})}, "iris.toml")


ALONE = new_worker(60.0, is_alone=True)


@dataclass(frozen=True)
class Watcher:
    """Be the view of a sweep."""

    show: Callable[[SweepNews], None]
    say: Callable[[str], None]


class Bench:
    """Run sweeps on one database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.use(open_database(f"sqlite:///{folder}/s.db", create=True, write=True))
        self.news: list[SweepNews] = []
        self.lines: list[str] = []
        self.asks_ahead = False

    def use(self, database: Database) -> None:
        """Run on this database from now on."""
        self.database = database
        self.repository = repository_of(self.database)
        self.records = self.repository.records
        self.evidence = self.repository.evidence
        self.ledger = self.repository.ledger

    def run(self, spec: StudySpec, watch: Any = None, worker: Worker = ALONE) -> StudyRecord:
        device = choose_device("cpu")
        data = load_study_data(spec, self.folder)
        study = enter_study(spec, data, self.records, describe_device(device))
        trainer = make_trainer(spec, data, device, 0)
        trainer.asks_ahead = self.asks_ahead
        run_sweep(spec, study, self.repository, trainer, worker, self.view(watch))
        return study

    def procedure(self, spec: StudySpec) -> tuple[StudyRecord, StudyData]:
        """Do all that `selection run` does."""
        device = choose_device("cpu")
        data = load_study_data(spec, self.folder)
        study = enter_study(spec, data, self.records, describe_device(device))
        self.evidence.keep_rows(study, row_facts(data))
        trainer = make_trainer(spec, data, device, 0)
        view = self.view()

        def sweep() -> None:
            run_sweep(spec, study, self.repository, trainer, ALONE, view)
            audit_pruned(spec, study, self.repository, trainer.train, view.say)

        run_procedure(spec, study, data, self.repository, device, view.say, sweep)
        return study, data

    def view(self, watch: Any = None) -> Watcher:
        """Return a view that notes what it is shown, or hands it to watch."""
        return Watcher(watch or self.news.append, self.lines.append)

    def assess(self, study: StudyRecord, rule: Any = None) -> Assessment:
        return assess_study(study, self.repository, rule)

    def table(self, spec: StudySpec, watch: Any = None) -> list[dict[str, Any]]:
        return [as_row(trial) for trial in self.records.trials(self.run(spec, watch))]


def as_row(trial: Trial) -> dict[str, Any]:
    """Return everything about a trial but how long it took."""
    row = {field.name: getattr(trial, field.name) for field in dataclasses.fields(trial)}
    return row | {"seconds": None, "params": dict(trial.params)}
