"""Whole studies of studies/book, one per seed: what each trial of them did, as plain values.

The seed decides synthetic rows, folds, initial weights and the order of rows. The held-out set is
evaluated once for each trial that the book has a figure of, whichever trial the rule chose; every
evaluation is in the ledger of a database that is thrown away.
"""

from __future__ import annotations

import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import selection
from selection.data.sources import data_folder
from selection.stats.fit_diagnosis import Diagnosis
from selection.stats.paired_tests import Comparison
from selection.stats.selection_rules import rank
from selection.store.repository import Repository, open_repository
from selection.store.study_record import StudyRecord
from selection.study.setting import Setting
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Trial
from selection.train.device import Device, choose_device
from selection.workflows.assess import Assessment, assess_study
from selection.workflows.diagnose import diagnose_trial
from selection.workflows.evaluate import evaluate
from selection.workflows.final_models import final_models
from selection.workflows.study_data import (
    StudyData,
    load_study_data,
)

FOLDER = Path(__file__).parents[1] / "studies" / "book"


@dataclass(frozen=True)
class FinalFigures:
    """Hold what a trial's refit on all development rows did.

    running_loss and running_score are of its last epoch, in train mode; weight_norm is that of its
    first layer; scores are those on the held-out rows, by metric.
    """

    running_loss: float
    running_score: float
    weight_norm: float
    scores: Mapping[str, float]

    @property
    def loss_ratio(self) -> float:
        """How many times as large the squared error is on the held-out rows as in training."""
        return self.scores["rmse"] ** 2 / self.running_loss


@dataclass(frozen=True)
class TrialFigures:
    """Hold what a trial did on the folds, as means over them after the last epoch.

    gradients are norms by layer after the first epoch; advantage is that of the study's winner,
    None for itself; final is there if the trial met the held-out rows.
    """

    setting: Setting
    fold_scores: tuple[float, ...]
    training_score: float
    validation_score: float
    verdict: str
    gradients: tuple[float, ...]
    weights: tuple[float, ...]
    advantage: Comparison | None
    final: FinalFigures | None

    @property
    def is_winner(self) -> bool:
        """Say whether the rule chose this trial."""
        return self.advantage is None


@dataclass(frozen=True)
class Run:
    """Hold one study at one seed; seconds are of all that was done, trials are by number."""

    study: str
    seed: int
    level: float
    seconds: float
    trials: tuple[TrialFigures, ...]

    @property
    def winner(self) -> TrialFigures:
        """The trial that the rule chose."""
        return next(trial for trial in self.trials if trial.is_winner)


def run_study(name: str, seed: int, evaluations: int) -> Run:
    """Run a study file at a seed; the first trials, as many as evaluations, are scored held out."""
    begun = time.perf_counter()
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    content |= {"name": f"{content['name']}-{seed}", "seed": seed}
    spec = parse_study(content, f"{name}.toml")
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/book.db"
        selection.run(spec, storage=storage, device="cpu", progress=False)
        with open_repository(storage, write=True) as repository:
            trials = _measure(spec, repository, evaluations)
    level = spec.sections.assessment.level
    return Run(name, seed, level, time.perf_counter() - begun, trials)


def _measure(spec: StudySpec, repository: Repository, evaluations: int) -> tuple[TrialFigures, ...]:
    device = choose_device("cpu")
    data = load_study_data(spec, data_folder())
    study = repository.study(spec.name)
    assessment = assess_study(study, repository)
    finals = {
        number: _final(study, spec, data, repository, device, number)
        for number in range(evaluations)
    }
    return tuple(
        _figures(assessment, repository, trial, finals.get(trial.number))
        for trial in assessment.trials
    )


def _final(
    study: StudyRecord,
    spec: StudySpec,
    data: StudyData,
    repository: Repository,
    device: Device,
    number: int,
) -> FinalFigures:
    """Refit a trial and score it on the held-out rows."""
    assessment = assess_study(study, repository)
    trial = assessment.trials[number]
    # The book's figures are of this setting, whether or not the rule would have chosen it.
    asked = replace(assessment, winner=trial)
    reason = "the book has a figure of this setting"
    evidence = repository.evidence
    result = evaluate(
        asked, data, evidence, repository.ledger, device, data_folder(), reason, print
    )
    (model,) = final_models(study, spec, data, trial, evidence, device)
    first = model.members[0].layers[0]
    loss, score = result.training.running_loss, result.training.running_score
    assert loss is not None, "the model was trained just now"
    assert score is not None, "the model was trained just now"
    assert loss[0] is not None, "training has not diverged"
    assert score[0] is not None, "training has not diverged"
    return FinalFigures(
        running_loss=loss[0],
        running_score=score[0],
        weight_norm=float(np.linalg.norm(first.weight)),
        scores={spec.metric: result.score, **(result.scores or {})},
    )


def _figures(
    assessment: Assessment, repository: Repository, trial: Trial, final: FinalFigures | None
) -> TrialFigures:
    study, spec = assessment.study, assessment.spec
    ranked = rank(assessment.trials, is_minimised=spec.is_minimised)
    found: Diagnosis | None = diagnose_trial(study, spec, repository, trial, ranked)
    assert found is not None, "rows were kept, and without a pruner every trial is complete"
    layers = [fold.layers for fold in repository.records.curves(study, trial.number)]
    kept = [each for each in layers if each is not None]
    return TrialFigures(
        setting=spec.setting(trial.params),
        fold_scores=trial.fold_scores,
        training_score=found.training_score.mean,
        validation_score=found.validation_score.mean,
        verdict=found.verdict.value,
        gradients=_over_folds([each.column("gradient_norm")[0] for each in kept]),
        weights=_over_folds([each.column("weight_norm")[-1] for each in kept]),
        advantage=next(
            (
                competitor.advantage
                for competitor in assessment.competitors
                if competitor.number == trial.number
            ),
            None,
        ),
        final=final,
    )


def _over_folds(lines: Sequence[Any]) -> tuple[float, ...]:
    """Return the mean over folds of what was measured by layer; () without diagnostics."""
    return tuple(np.mean(lines, axis=0).tolist()) if lines else ()
