"""A study in its database, as one object: results as values, and what can still be done with it.

What is heavy (torch, plotly) is imported by the method that needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selection.api.arguments import check_rule, checked_reason, plain_value, trial_number
from selection.api.temporary_folder import TemporaryFolder
from selection.errors import StorageError
from selection.report.verdict import openings
from selection.store.address import Address, read_address
from selection.store.ledger import Evaluation
from selection.store.repository import Repository, open_repository
from selection.store.study_record import StudyRecord
from selection.study.commands import command_text
from selection.study.ensemble import counts_of, weights_of
from selection.study.fields import Rule
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Scalar, Trial

if TYPE_CHECKING:
    import pandas as pd

    from selection.model.estimator import AnyModel
    from selection.report.export import Winner
    from selection.report.plots.chart_source import ChartSource
    from selection.report.plots.study_plots import StudyPlots
    from selection.report.study_view import StudyView
    from selection.report.warnings import StudyWarning
    from selection.stats.fit_diagnosis import Diagnosis
    from selection.store.curve_points import CurvePoint
    from selection.store.evidence import StoredModel
    from selection.store.other_trials import Enqueued
    from selection.study.held_out_result import HeldOutResult
    from selection.train.device import DeviceName
    from selection.train.fit import EpochNews
    from selection.workflows.assess import Assessment
    from selection.workflows.best import Best
    from selection.workflows.compare import ComparedStudy, StudyComparison
    from selection.workflows.diagnose import DiagnosedTrial
    from selection.workflows.study_data import StudyData

Say = Callable[[str], None]


def _silent(_line: str) -> None:
    """Say nothing."""


def _ignore(_news: EpochNews) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Exported:
    """Hold which trial was written, and the names of its files in their folder.

    ensemble has the weight of each trial where an ensemble was written, and trial is then the one
    with the greatest; it is None for a trial.
    """

    trial: int
    folder: Path
    files: tuple[str, ...]
    ensemble: Mapping[int, float] | None = None


class Study:
    """A study in its database: its results as values, and what can still be done with it.

    Every property reads the database anew, so it also shows what other processes have added.

    Example:
        >>> import selection
        >>> study = selection.run(
        ...     {
        ...         "name": "iris",
        ...         "data": {"dataset": "iris", "held_out": 0.2},
        ...         "training": {"epochs": 10, "batch_size": 16},
        ...         "space": {"width": {"choices": [8, 32]}},
        ...         "search": {"trials": 2, "pruner": "none"},
        ...     },
        ...     storage="sqlite:///iris.db",
        ...     progress=False,
        ... )
        >>> study.best.params["width"] in (8, 32)
        True
        >>> study.trials["param_width"].to_dict()
        {0: 8, 1: 32}
        >>> study.learning_curves(0).shape  # 5 folds x 10 epochs
        (50, 6)
        >>> 0.0 <= study.evaluate().score <= 1.0
        True
        >>> study.evaluate()
        Traceback (most recent call last):
        selection.errors.RefusedError: study iris: the held-out set may be opened only once, ...
        >>> study.model().predict([[5.1, 3.5, 1.4, 0.2]]).tolist()
        ['setosa']
    """

    def __init__(
        self,
        name: str,
        storage: str,
        *,
        frame: pd.DataFrame | None = None,
        folder: TemporaryFolder | None = None,
    ) -> None:
        """Name a study that is in the database, or is about to be.

        frame holds the rows of a study of arrays; folder is removed with the last object that
        holds it.
        """
        self.name = name
        self.frame = frame
        self._address: Address = read_address(storage)
        self._folder = folder
        self._assessed: dict[Rule | None, tuple[tuple[int, ...], Assessment]] = {}

    def __repr__(self) -> str:
        return f"Study({self.name!r}, storage={str(self._address)!r})"

    def _repr_html_(self) -> str:
        from selection.report.notebook import study_html

        view = self.view()
        return study_html(view, self.assess() if view.ranked else None)

    @property
    def storage(self) -> str:
        """The database URL, without its password."""
        return str(self._address)

    @property
    def secret_url(self) -> str:
        """The database URL with its password, for those who connect; never to be printed."""
        return self._address.secret_url

    @property
    def spec(self) -> StudySpec:
        """The study file as it is on record."""
        with self._reading() as (_, record):
            return record.spec()

    @property
    def best(self) -> Best:
        """The winner by the study's rule, its observed and corrected score, and what it beats.

        Raises: StudyStateError if no trial is complete.
        """
        from selection.workflows.best import best_of

        return best_of(self.assess())

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial as a row, by number: state, value, one column per param and per fold."""
        from selection.report.frames import trials_frame

        with self._reading() as (repository, record):
            found = repository.records.trials(record, with_curves=False)
        return trials_frame(record, found)

    @property
    def evaluations(self) -> Sequence[Evaluation]:
        """The evaluation ledger of this study: each opening of its held-out set, oldest first."""
        with self._reading() as (repository, record):
            return repository.ledger.evaluations(record)

    @property
    def warnings(self) -> list[StudyWarning]:
        """What weakens the study's answer, each with a code, and a text that says what to do."""
        from selection.report.warnings import study_warnings

        return study_warnings(self.assess())

    def is_on_record(self) -> bool:
        """Say whether the database exists and contains the study."""
        try:
            with open_repository(self._address.secret_url) as repository:
                return repository.records.find_study(self.name) is not None
        except StorageError:
            return False

    @property
    def plots(self) -> StudyPlots:
        """The charts of the study, each as a plotly Figure."""
        from selection.report.plots.study_plots import StudyPlots

        return StudyPlots(self._chart_source)

    def view(self) -> StudyView:
        """Return the study as it stands: trials, running cohorts, ledger, time."""
        from selection.report.study_view import view_study

        with self._reading() as (repository, record):
            return view_study(record, repository)

    def assess(self, rule: Rule | None = None) -> Assessment:
        """Return all that can be said before an evaluation; rule overrides the study's.

        What was assessed is kept until the record changes.

        Raises: StudyStateError if there is no such rule.
        """
        check_rule(rule)
        from selection.report.study_view import view_study
        from selection.workflows.assess import assess_study

        with self._reading() as (repository, record):
            version = view_study(record, repository).version
            known = self._assessed.get(rule)
            if known is None or known[0] != version:
                known = (version, assess_study(record, repository, rule))
                self._assessed[rule] = known
        return known[1]

    def enqueue(self, setting: Mapping[str, Any]) -> Enqueued:
        """Ask for a setting: the next cohort trains it first, as one trial of the budget.

        What is left out takes the value of the default setting. It may be called while the study
        trains.

        Raises: StudyStateError if the search space does not have the setting; RefusedError once the
        held-out set has been opened.
        """
        from selection.study.asked import asked_setting

        given = {name: plain_value(value) for name, value in setting.items()}
        with self._writing() as (repository, record):
            (done,) = repository.records.enqueue(record, [asked_setting(record.spec(), given)])
        return done

    def compare(self, other: Study) -> StudyComparison:
        """Compare the winners of two studies, on paired folds where they share rows and folds.

        Elsewhere there is no test, and why_unpaired says why.

        Raises: StudyStateError if one of them has no complete trial.
        """
        from selection.workflows.compare import compare_studies

        return compare_studies(self._compared(), other._compared())

    def learning_curves(self, trial: int) -> pd.DataFrame:
        """Return a trial's losses and scores by repeat, fold and epoch.

        Raises: StudyStateError if there is no such trial.
        """
        from selection.report.frames import curves_frame

        return curves_frame(self.fold_results(trial))

    def fold_results(self, trial: int) -> Sequence[FoldResult]:
        """Return what a trial left on each fold: curves, and layers where they were asked for.

        Raises: StudyStateError if there is no such trial.
        """
        with self._reading() as (repository, record):
            return repository.records.curves(record, index(trial))

    def diagnose(self, trial: int | None = None) -> DiagnosedTrial:
        """Say whether a trial, by default the winner, under- or overfits, and what to do about it.

        Raises: StudyStateError if the trial is not complete.
        """
        from selection.workflows.diagnose import diagnose_complete

        with self._reading() as (repository, record):
            return diagnose_complete(record, repository, trial_number(trial))

    def curve(
        self,
        over: str,
        values: Sequence[Scalar],
        trial: int | None = None,
        *,
        device: DeviceName = "auto",
    ) -> pd.DataFrame:
        """Train a trial, by default the winner, again with one hyperparameter at other values.

        over is the name of a hyperparameter for a validation curve, or "rows" for a sample-size
        curve. Points on record are not trained again. Returns one row for each value.

        Raises: StudyFileError if a value breaks a rule; StudyStateError if it cannot be trained.
        """
        from selection.report.frames import points_frame
        from selection.workflows.validation_curve import check_values

        found = self.curve_points(over, check_values(over, values), trial, device=device)
        return points_frame(found, self.spec.metric)

    def curve_points(
        self,
        over: str,
        values: Sequence[Scalar],
        trial: int | None = None,
        *,
        device: DeviceName = "auto",
        watch: Callable[[EpochNews], None] = _ignore,
        say: Say = _silent,
    ) -> list[tuple[CurvePoint, Diagnosis | None]]:
        """Return the points of a curve with their fold results, each with its diagnosis.

        values have passed check_values; watch receives the news of every epoch.

        Raises: StudyStateError if a value cannot be trained.
        """
        from selection.workflows.diagnose import complete_trial, diagnose_points
        from selection.workflows.validation_curve import Subject, trace_curve

        with self._writing() as (repository, record):
            spec = record.spec()
            chosen = complete_trial(record, repository, trial_number(trial))
            subject = Subject(spec, record, self._data(record), chosen, over)
            points = trace_curve(subject, values, repository, _device(device), watch, say)
            found = diagnose_points(record, spec, repository, points)
        return list(zip(points, found, strict=True))

    def evaluate(
        self,
        *,
        rule: Rule | None = None,
        again: bool = False,
        reason: str = "",
        unfinished: bool = False,
        device: DeviceName = "auto",
        say: Say = _silent,
    ) -> HeldOutResult:
        """Make the final model, open the held-out set, once, and return the result.

        again and reason open it once more, on record for good; unfinished ends a study that has
        trials left.

        Raises: RefusedError on a second call, with the first result in its attribute result;
        StudyStateError without a winner; DataError if the held-out rows cannot be read.
        """
        from selection.data.sources import data_folder
        from selection.workflows.assess import assess_study
        from selection.workflows.evaluate import check_evaluation, evaluate
        from selection.workflows.study_data import row_facts

        check_rule(rule)
        reason = checked_reason(reason, again=again)
        with self._writing() as (repository, record):
            if not again:
                repository.ledger.check_first_evaluation(record)
            data = self._data(record)
            # A study of an early version has not kept them, and cannot be corrected without.
            repository.evidence.keep_rows(record, row_facts(data))
            repository.evidence.keep_held_out_rows(record, data.dataset.held_out_identities)
            assessment = assess_study(record, repository, rule)
            check_evaluation(assessment, again=again, unfinished=unfinished)
            if others := openings(assessment.openings_by_others, record.facts.held_out_rows):
                say(f"warning: {others}")
            return evaluate(
                assessment,
                data,
                repository.evidence,
                repository.ledger,
                _device(device),
                data_folder(),
                reason,
                say,
            )

    def export(
        self,
        folder: str | os.PathLike[str],
        formats: Sequence[str] | None = None,
        *,
        force: bool = False,
        device: DeviceName = "auto",
        say: Say = _silent,
    ) -> Exported:
        """Write the winner as files; all formats whose packages are installed, or those named.

        After an evaluation it is the trial that met the held-out set.

        Raises: ExportError if the folder is not free or a format cannot be made.
        """
        from selection.report.export import (
            check_folder,
            check_formats,
            installed_formats,
            make_files,
            subject_of,
            write_files,
        )

        where = Path(folder)
        check_folder(where, force=force)
        wanted = installed_formats() if formats is None else check_formats(formats)
        winner = self._winner(wanted, device, say)
        files = make_files(winner, wanted)
        removed = write_files(files, where, subject_of(winner), force=force)
        if removed:
            say(f"removed from {where}, of an earlier export: {', '.join(removed)}")
        counts = counts_of(winner.trial)
        weights = None if counts is None else weights_of(counts)
        return Exported(winner.trial.number, where, tuple(sorted(files)), weights)

    def model(self, *, device: DeviceName = "auto") -> AnyModel:
        """Return the final model, trained now if it never was; the held-out set stays closed.

        Raises: StudyStateError without a winner, or where training diverges.
        """
        from selection.model.files import decode_model

        stored = self._winner(["safetensors"], device, _silent).model
        assert stored is not None, "a model was asked for"
        return decode_model(stored.document, stored.weights, f"study {self.name}: final model")

    def report(
        self, path: str | os.PathLike[str], *, force: bool = False, command: str = ""
    ) -> Path:
        """Write all that is known of the study as one HTML file that needs no network.

        command is the one that evaluates the study, as the report shows it.

        Raises: ExportError if the file cannot be written, or is no report and force is not given.
        """
        from selection.report.html.pictures import Pictures
        from selection.report.html.report_file import check_file, report_file, write_report
        from selection.workflows.assess import assess_study

        where = Path(path)
        check_file(where, force=force)
        with self._chart_source() as source:
            assessment = source.assessment or assess_study(source.view.study, source.repository)
            evaluate = command or command_text("evaluate", operands=[self.name])
            text = report_file(source.view, assessment, source.repository, Pictures(), evaluate)
        write_report(where, text)
        return where

    @contextmanager
    def _reading(self) -> Iterator[tuple[Repository, StudyRecord]]:
        with open_repository(self._address.secret_url) as repository:
            yield repository, repository.study(self.name)

    @contextmanager
    def _writing(self) -> Iterator[tuple[Repository, StudyRecord]]:
        with open_repository(self._address.secret_url, write=True) as repository:
            yield repository, repository.study(self.name)

    @contextmanager
    def _chart_source(self) -> Iterator[ChartSource]:
        from selection.report.plots.chart_source import ChartSource
        from selection.report.study_view import view_study

        with self._reading() as (repository, record):
            view = view_study(record, repository)
            yield ChartSource(view, self.assess() if view.ranked else None, repository)

    def _compared(self) -> ComparedStudy:
        from selection.workflows.compare import compared_study

        return compared_study(self.assess(), self.view().seconds)

    def _data(self, record: StudyRecord) -> StudyData:
        """Load the development rows, and refuse any others than the study began with."""
        from selection.data.sources import data_folder
        from selection.workflows.study_data import check_rows, load_study_data

        data = load_study_data(record.spec(), data_folder(), self.frame)
        check_rows(record, data)
        return data

    def _winner(self, formats: Sequence[str], device: DeviceName, say: Say) -> Winner:
        """Return the trial to export, its assessment, and its model if a format needs one."""
        from selection.report.export import MODEL_FORMATS, Winner
        from selection.workflows.assess import assess_study, rule_to_export, trial_to_export

        with self._writing() as (repository, record):
            rule = rule_to_export(repository.ledger.evaluations(record))
            assessment = assess_study(record, repository, rule)
            trial = trial_to_export(assessment)
            model = None
            if set(formats) & set(MODEL_FORMATS):
                model = self._final_model(repository, record, trial, device, say)
        return Winner(assessment, trial, model)

    def _final_model(
        self,
        repository: Repository,
        record: StudyRecord,
        trial: Trial,
        device: DeviceName,
        say: Say,
    ) -> StoredModel:
        from selection.workflows.kept_models import kept_models

        if not kept_models(record, trial, repository.evidence):
            from selection.train.device import choose_device
            from selection.workflows.final_models import final_models

            say("training the final model")
            data, chosen = self._data(record), choose_device(device)
            final_models(record, record.spec(), data, trial, repository.evidence, chosen)
        return kept_models(record, trial, repository.evidence)[0]


def _device(name: DeviceName) -> Any:
    from selection.train.device import choose_device

    return choose_device(name)
