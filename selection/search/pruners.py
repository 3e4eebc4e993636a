"""Optuna's pruners as a study file asks for them, and the notes that successive halving keeps."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from selection.study.spec import StudySpec


def make_pruner(spec: StudySpec) -> optuna.pruners.BasePruner:
    """Return the pruner of the study file."""
    options: dict[str, Any] = dict(spec.sections.search.pruner_options)
    match spec.sections.search.pruner:
        case "successive_halving":
            first = max(1, _most_epochs(spec) // 4)
            return optuna.pruners.SuccessiveHalvingPruner(**{"min_resource": first} | options)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(max_resource=_most_epochs(spec), **options)
        case "median":
            return optuna.pruners.MedianPruner(**options)
        case "percentile":
            return optuna.pruners.PercentilePruner(**options)
        case "patient":
            with warnings.catch_warnings():
                # Optuna has called it experimental since 2021.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.pruners.PatientPruner(None, **options)
        case "threshold":
            return optuna.pruners.ThresholdPruner(**options)
        case _:
            return optuna.pruners.NopPruner()


class Ladders:
    """Derive again the notes that successive halving keeps on each trial: its value at each rung.

    Optuna's pruner writes a note when it judges a trial. Here all trials get the notes they have
    earned first, and each is judged against all others; its own note is written by the pruner.
    """

    def __init__(self, pruner: optuna.pruners.BasePruner, study: optuna.Study) -> None:
        self._pruner = pruner
        self._study = study
        if isinstance(pruner, optuna.pruners.HyperbandPruner):
            # Asked about a trial without a value, Hyperband lays out its brackets.
            pruner.prune(study, create_trial(state=OptunaState.RUNNING))

    def note_all(self, trial: FrozenTrial) -> None:
        """Write the note of every rung that the trial has reached."""
        for step, value in trial.intermediate_values.items():
            self.note(trial, step, value)

    def note(self, trial: FrozenTrial, step: int, value: float) -> None:
        """Write the note of the rung that lies at this step, if one does."""
        rung = self._rung_at(trial, step)
        if rung is not None:
            trial.system_attrs[f"completed_rung_{rung}"] = value

    def forget(self, trial: FrozenTrial, step: int) -> None:
        """Take back the note of the rung at this step."""
        trial.system_attrs.pop(f"completed_rung_{self._rung_at(trial, step)}", None)

    def _rung_at(self, trial: FrozenTrial, step: int) -> int | None:
        pruner = self._pruner
        if isinstance(pruner, optuna.pruners.HyperbandPruner):
            pruner = pruner._pruners[pruner._get_bracket_id(self._study, trial)]
        if not isinstance(pruner, optuna.pruners.SuccessiveHalvingPruner):
            return None
        first = pruner._min_resource or 1
        factor = pruner._reduction_factor
        for rung in itertools.count():
            at = first * factor ** (pruner._min_early_stopping_rate + rung)
            if at >= step:
                return rung if at == step else None
        return None


def _most_epochs(spec: StudySpec) -> int:
    dimension = spec.space.get("epochs")
    if dimension is None:
        return spec.setting(spec.default).kind.epochs
    options = dimension.grid() or (dimension.nearest(2**62),)
    return max(value for value in options if isinstance(value, int))
