"""Our side of a comparison: the engine alone, and the sweep that a user runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

import torch

from benchmarks.cases import Case, load_case, spec_of, work_of
from benchmarks.peers import Outcome
from selection.store.leases import new_worker
from selection.store.repository import open_repository
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState
from selection.train.device import choose_device, describe_device
from selection.workflows.study_data import enter_study, make_trainer, row_facts
from selection.workflows.sweep import SweepNews, run_sweep


class _Silence:
    def show(self, news: SweepNews) -> None: ...

    def say(self, line: str) -> None: ...


class Ours:
    """Hold a case on the device, as `selection run` would, and train it over and over."""

    def __init__(self, case: Case) -> None:
        self.spec = spec_of(case)
        self.data = load_case(self.spec)
        self.work = work_of(self.spec, self.data)
        self.trainer = make_trainer(self.spec, self.data, choose_device("cpu"), 0)

    def engine(self) -> Outcome:
        """Train one cohort of all trials; nothing is stored."""
        torch.set_num_threads(1)
        begun = time.perf_counter()
        results = self.trainer.train(self.work.settings)
        seconds = time.perf_counter() - begun
        assert all(result.state is TrialState.COMPLETE for result in results)
        scores = [result.value for result in results if result.value is not None]
        return Outcome(self.work.member_epochs, seconds, max(scores))

    def sweep(self) -> Outcome:
        """Run the study on a new SQLite file, from its first question to its last record."""
        return self.trials_of_sweep(self.spec)[0]

    def trials_of_sweep(self, spec: StudySpec) -> tuple[Outcome, list[Trial]]:
        """Run a study of the same rows likewise; return its trials too, by number."""
        torch.set_num_threads(1)
        device = choose_device("cpu")
        with (
            tempfile.TemporaryDirectory() as folder,
            open_repository(f"sqlite:///{folder}/s.db", create=True, write=True) as repository,
        ):
            study = enter_study(spec, self.data, repository.records, describe_device(device))
            repository.evidence.keep_rows(study, row_facts(self.data))
            worker = new_worker(600.0, is_alone=True)
            begun = time.perf_counter()
            run_sweep(spec, study, repository, self.trainer, worker, _Silence())
            seconds = time.perf_counter() - begun
            trials = repository.records.trials(study, with_curves=False)
        assert len(trials) == spec.budget, "the whole budget is trained"
        done = sum(trial.epochs * len(trial.fold_scores) for trial in trials)
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        values: Sequence[float] = [trial.value for trial in complete if trial.value is not None]
        return Outcome(done, seconds, max(values)), trials
