"""How long do whole sweeps take, with the sampler and storage?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.gpu_setup import FOLDS, PRECISIONS, Size, make_spec, note, print_text, seconds_of
from selection.store.database import writer_lock
from selection.store.leases import new_worker
from selection.store.repository import open_repository
from selection.study.setting import Precision
from selection.study.spec import StudySpec
from selection.study.trial import TrialState
from selection.train.device import describe_device
from selection.train.fit import Trainer
from selection.workflows.study_data import StudyData, make_trainer, row_facts
from selection.workflows.sweep import SweepNews, run_sweep

place = Path("data")


@dataclass(frozen=True)
class Sweep:
    """Hold one sweep; training is the part spent in Trainer.train. Units: seconds."""

    sampler: str
    precision: Precision
    trials: int
    cohort: int
    seconds: float
    training: float


class Silence:
    """Show nothing of a sweep."""

    def show(self, news: SweepNews) -> None:
        pass

    def say(self, line: str) -> None:
        note(line)


@contextmanager
def timed_training() -> Iterator[list[float]]:
    """Record how long each cohort trains. Units: seconds."""
    seconds: list[float] = []
    original = Trainer.train

    def train(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        results = original(*args, **kwargs)
        seconds.append(time.perf_counter() - begun)
        return results

    with mock.patch.object(Trainer, "train", train):
        yield seconds


def sweep_seconds(
    data: StudyData, spec: StudySpec, device: torch.device, folder: Path
) -> tuple[float, float]:
    """Run a study until its budget is spent; return its seconds and those of training.

    Rows are on the device and the study is begun.
    """
    url = f"sqlite:///{folder}/{spec.name}.db"
    with writer_lock(url), open_repository(url, create=True, write=True) as repository:
        fingerprint, facts = data.dataset.fingerprint, data.facts
        environment = describe_device(device)
        study = repository.records.create_study(spec, fingerprint, None, facts, environment)
        repository.evidence.keep_rows(study, row_facts(data))
        trainer = make_trainer(spec, data, device, 0)
        worker = new_worker(600.0, is_alone=True)
        with timed_training() as training:
            seconds = seconds_of(
                lambda: run_sweep(spec, study, repository, trainer, worker, Silence()), device
            )
        trials = repository.records.trials(study, with_curves=False)
    assert len(trials) == spec.budget, "the budget is spent"
    assert all(trial.state is TrialState.COMPLETE for trial in trials), "no trial was lost"
    return seconds, sum(training)


def sweeps(data: StudyData, device: torch.device, size: Size) -> list[Sweep]:
    """Sweep in one cohort by random search, in cohorts of sixteen by TPE."""
    trials = size.trials[-1]
    place.mkdir(exist_ok=True)
    found = []
    with tempfile.TemporaryDirectory(prefix="gpu-", dir=place) as name:
        # The first sweep of a process pays for what is imported late.
        first = make_spec("first", 1, trials=2, cohort=2, sampler="tpe")
        sweep_seconds(data, first, device, Path(name))
        for precision in PRECISIONS:
            for sampler, cohort in (("random", trials), ("tpe", min(16, trials))):
                spec = make_spec(
                    f"{sampler}-{precision}",
                    size.epochs,
                    precision=precision,
                    sampler=sampler,
                    trials=trials,
                    cohort=cohort,
                )
                taken = sweep_seconds(data, spec, device, Path(name))
                found.append(Sweep(sampler, precision, trials, cohort, *taken))
                note(f"{spec.name}: {taken[0]:.3f} s, of which {taken[1]:.3f} s training")
    return found


def print_sweeps(found: Sequence[Sweep], size: Size) -> None:
    print_text(
        f"A study from its first proposal to its last commit: {FOLDS} folds, {size.epochs} epochs, "
        "the sampler, SQLite on disk with all predictions on validation rows. Making, preparing "
        "and loading the rows is not counted."
    )
    print(
        "| sampler | precision | trials | per cohort | seconds | training, s "
        "| seconds per 1,000 fold-trainings |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for each in found:
        print(
            f"| {each.sampler} | {each.precision} | {each.trials} | {each.cohort} "
            f"| {each.seconds:.2f} | {each.training:.2f} "
            f"| {1000 * each.seconds / (each.trials * FOLDS):.2f} |"
        )
