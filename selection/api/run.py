"""Run a study: read its file, load its rows, open its record, train, and return the Study.

The recipe of a run stands here once; the command line, tests and benchmarks call it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from selection.api.defaults import default_storage
from selection.api.source import (
    Overrides,
    Source,
    check_target,
    is_named,
    read_arrays,
    read_spec,
    refuse_without_rows,
    with_trials_on_record,
)
from selection.api.study import Say, Study
from selection.api.temporary_folder import TemporaryFolder
from selection.errors import ErrorDetail, MovedFileError, StudyFileError
from selection.report.verdict import openings
from selection.store.address import Address, read_address
from selection.store.database import writer_lock
from selection.store.leases import Worker, new_worker
from selection.store.repository import Repository, open_repository
from selection.store.study_record import StudyRecord, StudySummary
from selection.study.budget import is_finished
from selection.study.spec import StudySpec

if TYPE_CHECKING:
    import pandas as pd

    from selection.study.run_section import RunsOn
    from selection.train.device import Device, DeviceName
    from selection.workers.team import Team
    from selection.workflows.callbacks import Callback, TeamView
    from selection.workflows.study_data import StudyData


@dataclass(frozen=True)
class Training:
    """Say how a study trains; none of this changes a trial.

    Units: pack_members is the number of members a pack has at most, 0 to size packs by memory;
    lease_seconds is how long a process that records may be silent before its cohorts are given to
    another.
    """

    device: DeviceName = "auto"
    pack_members: int = 0
    lease_seconds: float = 30.0


def run(
    spec: Source,
    X: Any = None,
    y: Any = None,
    *,
    groups: Any = None,
    held_out: Any = None,
    sample_weight: Any = None,
    storage: str | None = None,
    device: DeviceName = "auto",
    on: RunsOn | None = None,
    workers: int | None = None,
    lag: int | Literal["free"] | None = None,
    address: str | None = None,
    gpus_per_worker: float | None = None,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    name: str | None = None,
    seed: int | None = None,
    trials: int | str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Study:
    """Run a study, or go on with it where it stopped; a finished one only returns its Study.

    spec is the path of a study file, its content as a dict, or a StudySpec. With X and y the rows
    are those arrays, paired by position; without a name or storage, such a study is deleted
    together with its Study object. held_out is the fraction of the rows to hold out, or True for
    each row that is held out. sample_weight weighs rows in training; scores stay unweighted.
    storage is a database URL; the default is the SELECTION_STORAGE
    variable, or selection.db here. What weakens the answer is in study.warnings.

    name, seed, trials and overrides take the place of what spec says; the keys of overrides are
    dotted, as in {"training.epochs": 20}. trials="+24" adds to what the study has on record. A
    study may get more trials and more time, and another rule or level, until its held-out set is
    opened.

    on, workers, lag, address and gpus_per_worker take the place of the keys of [run]: how many
    workers train beside each other, as processes of this machine or as actors of a Ray cluster.
    This process alone records. With the same lag, which is the number of workers unless it is
    given, any number of workers gives the same trials.

    An interrupt gives the running cohort back. In an interactive session (a notebook) the Study
    that has been trained so far is returned; elsewhere KeyboardInterrupt is raised.

    Shape: X is (N, D), an array or a DataFrame; y, groups, sample_weight and a mask are (N,).

    Raises: SelectionError, in one of its kinds, for anything that a user can fix.

    Example:
        >>> import selection
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> study = selection.run(
        ...     {
        ...         "training": {"epochs": 5, "batch_size": 16},
        ...         "space": {"learning_rate": {"low": 0.01, "high": 1.0, "log": True}},
        ...         "search": {"metric": "accuracy", "trials": 4, "pruner": "none"},
        ...     },
        ...     X,
        ...     y,
        ...     progress=False,
        ... )
        >>> len(study.trials)
        4
    """
    from selection.report.terminal.progress import SweepView

    run_keys = {
        "on": on,
        "workers": workers,
        "lag": lag,
        "address": address,
        "gpus_per_worker": gpus_per_worker,
    }
    given = Overrides(overrides or {}, name, seed, trials, run_keys)
    frame: pd.DataFrame | None = None
    if X is None:
        refuse_without_rows(y=y, groups=groups, held_out=held_out, sample_weight=sample_weight)
        checked = read_spec(spec, given)
    else:
        checked, frame = read_arrays(spec, given, X, y, groups, held_out, sample_weight)
    folder: TemporaryFolder | None = None
    if frame is not None and not is_named(spec, given):
        if storage is not None:
            rule, hint = "a study that is kept must have a name", 'Add "name" to it.'
            raise StudyFileError(ErrorDetail("name", rule, "none", hint))
        folder = TemporaryFolder()
        storage = f"sqlite:///{folder.path / 'study.db'}"
    study = Study(checked.name, storage or default_storage(), frame=frame, folder=folder)
    view = SweepView(checked.metric, is_minimised=checked.is_minimised, is_quiet=not progress)
    try:
        with view:
            checked = with_trials_on_record(checked, given, study.secret_url, view.say)
            train(study, checked, Training(device), view, callbacks)
    except KeyboardInterrupt:
        if not (_is_interactive() and study.is_on_record()):
            raise
        view.say(f"stopped: study {study.name} keeps its finished trials")
    return study


def open_study(
    name: str | None = None,
    X: Any = None,
    y: Any = None,
    *,
    groups: Any = None,
    held_out: Any = None,
    sample_weight: Any = None,
    storage: str | None = None,
) -> Study:
    """Open a study by name; without one, the study that began last.

    A study of arrays needs the same X, y, groups, held_out and sample_weight again to evaluate, to
    export a model or to trace a curve.

    Raises: StorageError if the database cannot be opened; StudyStateError if it has no such study.

    Example:
        >>> import selection
        >>> spec = {
        ...     "name": "wine",
        ...     "data": {"dataset": "wine"},
        ...     "space": {"width": {"choices": [4, 8]}},
        ...     "search": {"trials": 2, "pruner": "none"},
        ... }
        >>> study = selection.run(spec, storage="sqlite:///wine.db", progress=False)
        >>> selection.open_study("wine", storage="sqlite:///wine.db").best == study.best
        True
    """
    url = storage or default_storage()
    with open_repository(url) as repository:
        record = repository.newest_study() if name is None else repository.study(name)
    if X is None:
        refuse_without_rows(y=y, groups=groups, held_out=held_out, sample_weight=sample_weight)
        return Study(record.name, url)
    from selection.data.arrays import table_from_arrays

    check_target(y)
    stated = {name: record.spec_json["data"][name] for name in ("drop", "categorical")}
    frame, _ = table_from_arrays(X, y, groups, held_out, stated, sample_weight=sample_weight)
    return Study(record.name, url, frame=frame)


def list_studies(storage: str | None = None) -> list[StudySummary]:
    """Return a line for each study of a database, oldest first.

    Raises: StorageError.

    Example:
        >>> import selection
        >>> spec = {
        ...     "name": "wine",
        ...     "data": {"dataset": "wine"},
        ...     "space": {"width": {"choices": [4, 8]}},
        ...     "search": {"trials": 2, "pruner": "none"},
        ... }
        >>> study = selection.run(spec, storage="sqlite:///wine.db", progress=False)
        >>> [each.name for each in selection.list_studies("sqlite:///wine.db")]
        ['wine']
    """
    with open_repository(storage or default_storage()) as repository:
        return repository.records.list_studies()


def train(
    study: Study,
    spec: StudySpec,
    training: Training,
    view: TeamView,
    callbacks: Sequence[Callback] = (),
    warn: Say | None = None,
) -> None:
    """Train a study until its budget is spent, then its baselines and outer folds.

    warn says what weakens the study's answer, by default in the view.

    Raises: SelectionError.
    """
    from selection.data.sources import data_folder
    from selection.train.device import choose_device, describe_device
    from selection.workers.start import check_workers, team_of
    from selection.workflows.callbacks import check_callbacks
    from selection.workflows.nested_cv import check_nested
    from selection.workflows.study_data import enter_study, load_study_data, row_facts

    warn = warn or view.say
    check_callbacks(callbacks)
    check_workers(spec)
    address = read_address(study.secret_url)
    # training.device names a device of the cluster; baselines and outer folds train on one here.
    device = choose_device("auto" if spec.sections.run.on == "ray" else training.device)
    data = load_study_data(spec, data_folder(), study.frame)
    spec = data.spec
    check_nested(spec, data)
    for warning in data.facts.warnings:
        warn(f"warning: {warning}")
    url = address.secret_url
    with (
        writer_lock(url),
        open_repository(url, create=True, write=True) as repository,
        _saved_if_moved(repository, view),
        team_of(spec, data, training.device, training.pack_members, view) as team,
    ):
        is_new = repository.records.find_study(spec.name) is None
        hardware = team.facts().hardware if team and is_new else describe_device(device)
        record = enter_study(spec, data, repository.records, hardware)
        repository.evidence.keep_rows(record, row_facts(data))
        repository.evidence.keep_held_out_rows(record, data.dataset.held_out_identities)
        if others := openings(
            repository.ledger.openings_by_others(record), record.facts.held_out_rows
        ):
            warn(f"warning: {others}")
        whole = _Run(spec, record, data, repository, address, training, device, team)
        try:
            whole.procedure(view, callbacks)
        finally:
            for callback in callbacks:
                callback.on_study_end(study)


def work(
    name: str,
    storage: str,
    training: Training,
    view: TeamView,
    lag: int | Literal["free"] | None = None,
) -> None:
    """Train for a study that has begun, beside other workers, until its budget is spent.

    lag takes the place of the one in the study's file; without either, a cohort knows whatever has
    finished.

    Raises: SelectionError.
    """
    from selection.data.sources import data_folder
    from selection.train.device import choose_device
    from selection.workers.shared import SharedTrainer
    from selection.workers.training import setup_of
    from selection.workflows.study_data import check_rows, load_study_data, make_trainer
    from selection.workflows.sweep import run_sweep

    device, me = choose_device(training.device), _worker(training, read_address(storage))
    with (
        writer_lock(storage),
        open_repository(storage, write=True) as repository,
        _saved_if_moved(repository, view),
    ):
        record = repository.study(name)
        spec = record.spec()
        data = load_study_data(spec, data_folder())
        check_rows(record, data)
        trainer = make_trainer(spec, data, device, training.pack_members)
        setup = setup_of(spec, data, training.device, training.pack_members)
        retries = spec.sections.search.max_retries
        asked = fixed_lag(lag or spec.sections.run.lag)
        with SharedTrainer(trainer, setup, view.say) as shared:
            run_sweep(spec, record, repository, shared, me, view, max_retries=retries, lag=asked)


@contextmanager
def _saved_if_moved(repository: Repository, view: TeamView) -> Iterator[None]:
    """Where the file of the database is deleted or moved meanwhile, save what is on record."""
    try:
        yield
    except MovedFileError:
        if path := repository.database.save_file():
            name = repository.database.url
            view.say(f"all that is on record is in {path}; to go on, put it in the place of {name}")
        raise


@dataclass(frozen=True, eq=False)
class _Run:
    """Hold what one run of a study works with."""

    spec: StudySpec
    record: StudyRecord
    data: StudyData
    repository: Repository
    address: Address
    training: Training
    device: Device
    team: Team | None

    def procedure(self, view: TeamView, callbacks: Sequence[Callback]) -> None:
        """Sweep, then train the baselines, and the outer folds if the study asks for them."""
        from selection.workflows.callbacks import CallbackView
        from selection.workflows.run import run_procedure

        known = self.repository.records.trials(self.record, with_curves=False)
        watched = CallbackView(view, callbacks, known)
        run_procedure(
            self.spec,
            self.record,
            self.data,
            self.repository,
            self.device,
            view.say,
            lambda: self._sweep(watched),
        )

    def _sweep(self, view: TeamView) -> None:
        """Train trials, and those to be audited, in this process or by workers."""
        from selection.workers.driver import run_team
        from selection.workers.shared import SharedTrainer
        from selection.workers.training import setup_of
        from selection.workflows.audit import audit_pruned
        from selection.workflows.study_data import make_trainer
        from selection.workflows.sweep import run_sweep

        study = (self.spec, self.record, self.repository)
        me, lag = _worker(self.training, self.address), self.spec.sections.run.lag
        if self.team is None:
            most = self.training.pack_members
            trainer = make_trainer(self.spec, self.data, self.device, most)
            setup = setup_of(self.spec, self.data, self.training.device, most)
            with SharedTrainer(trainer, setup, view.say) as shared:
                run_sweep(*study, shared, me, view, lag=fixed_lag(lag))
            audit_pruned(*study, trainer.train, view.say)
        elif not self._has_trained():
            retries = self.spec.sections.search.max_retries
            fixed = fixed_lag(lag or self.team.workers)
            run_team(self.team, *study, me, view, lag=fixed, max_retries=retries)
            self.team.stop()

    def _has_trained(self) -> bool:
        """Say whether there is nothing left that a worker could do."""
        from selection.workflows.audit import missing_audits

        records = self.repository.records
        trials = records.trials(self.record, with_curves=False)
        has_ended = is_finished(self.spec, trials, records.elapsed_seconds(self.record))
        return has_ended and not missing_audits(self.spec, self.record, self.repository)


def fixed_lag(lag: int | str | None) -> int | None:
    """Return the number of cohorts of a lag; None for one that is not fixed."""
    return lag if isinstance(lag, int) else None


def _worker(training: Training, address: Address) -> Worker:
    return new_worker(training.lease_seconds, is_alone=address.path is not None)


def _is_interactive() -> bool:
    """Say whether a person types: there a KeyboardInterrupt stops a run, not the session."""
    shell = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or (shell is not None and shell.get_ipython() is not None)
