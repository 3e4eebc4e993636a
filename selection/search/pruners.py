"""Makes the pruner of a study file, and sets the rungs that successive halving stores."""

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


class Rungs:
    """Set the system attributes that successive halving stores: a trial's value at each rung.

    Optuna's pruner stores a value when it decides on a trial. Here all trials get the values of the
    rungs that they have reached first, so that each is compared with all others; the value of the
    trial in question is left to the pruner.
    """

    def __init__(self, pruner: optuna.pruners.BasePruner, study: optuna.Study) -> None:
        self._pruner = pruner
        self._study = study
        if isinstance(pruner, optuna.pruners.HyperbandPruner):
            # Asked about a trial without a value, Hyperband only sets up its brackets.
            pruner.prune(study, create_trial(state=OptunaState.RUNNING))

    def record_all(self, trial: FrozenTrial) -> None:
        """Set the value of every rung that the trial has reached."""
        for step, value in trial.intermediate_values.items():
            self.record(trial, step, value)

    def record(self, trial: FrozenTrial, step: int, value: float) -> None:
        """Set the value of the rung at this step, if there is one."""
        rung = self._rung_at(trial, step)
        if rung is not None:
            trial.system_attrs[f"completed_rung_{rung}"] = value

    def remove(self, trial: FrozenTrial, step: int) -> None:
        """Remove the value of the rung at this step."""
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
