"""All of Optuna's samplers and pruners, as pure functions of what is told.

Nothing is kept between calls: each proposal builds an in-memory Optuna study from the finished
trials and asks it with a sampler seeded by (study seed, cohort number), so a resumed study proposes
what the uninterrupted one would have.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from selection.seeds import seed32_for, seed_for
from selection.study.optuna_names import distribution_json, from_optuna, to_optuna
from selection.study.space import SearchSpace, nearest_inside
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, TrialState, Value

_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}


# Optuna says at INFO that an in-memory study was created: once per cohort, to nobody.
optuna.logging.set_verbosity(optuna.logging.WARNING)


def propose(
    spec: StudySpec,
    told: Sequence[Trial],
    n: int,
    cohort: int,
    pending: Sequence[Trial] = (),
) -> list[dict[str, Value]]:
    """Return the params of the next n trials; the first trial of a study is its default.

    told holds every finished trial of the cohorts before, ordered by number; pending those that
    others train.
    """
    first = [] if cohort else [dict(spec.default)]
    if spec.sections.search.sampler == "grid":
        seen = [*(trial.params for trial in (*told, *pending)), *first]
        return _next_on_grid(spec, seen, first, n)
    study = _optuna_study(spec, told, _sampler(spec, cohort))
    distributions = _distributions(spec.space)
    for params in first:
        study.add_trial(_frozen(spec.space, distributions, params, OptunaState.RUNNING, (), None))
    asked = [study.ask(fixed_distributions=distributions) for _ in range(n - len(first))]
    return first + [
        {name: from_optuna(dim, trial.params[name]) for name, dim in spec.space.items()}
        for trial in asked
    ]


class CohortPruner:
    """Let Optuna's pruner decide on the fold means of one cohort, epoch by epoch.

    The trials of a cohort reach every epoch together, so all of them are shown to the pruner before
    any is judged: the decision does not depend on the order of their numbers. Trial 0 is never
    pruned: every report compares the winner with the default.
    """

    def __init__(
        self, spec: StudySpec, told: Sequence[Trial], cohort: Mapping[int, Params]
    ) -> None:
        self._pruner = _pruner(spec)
        self._study = _optuna_study(spec, told, optuna.samplers.RandomSampler(seed=0))
        distributions = _distributions(spec.space)
        self._places: dict[int, int] = {}
        for number, params in sorted(cohort.items()):
            self._places[number] = len(self._study.get_trials(deepcopy=False))
            self._study.add_trial(
                _frozen(spec.space, distributions, params, OptunaState.RUNNING, (), None)
            )
        self._ladders = _Ladders(self._pruner, self._study)
        for trial in self._study.get_trials(deepcopy=False):
            for step, value in trial.intermediate_values.items():
                self._ladders.note(trial, step, value)

    def decide(self, epoch: int, means: Mapping[int, float]) -> set[int]:
        """Return the numbers of the trials to prune after this epoch.

        means holds the fold mean of every living trial that has not finished.
        """
        if isinstance(self._pruner, optuna.pruners.NopPruner):
            return set()
        storage = self._study._storage
        for number, value in means.items():
            trial = self._trial(number)
            storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            self._ladders.note(self._trial(number), epoch, value)
        return {number for number in sorted(means) if number > 0 and self._is_out(number, epoch)}

    def _is_out(self, number: int, epoch: int) -> bool:
        self._ladders.forget(self._trial(number), epoch)
        return self._pruner.prune(self._study, self._trial(number))

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[self._places[number]]


class _Ladders:
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


def _sampler(spec: StudySpec, cohort: int) -> optuna.samplers.BaseSampler:
    seed = seed32_for(spec.seed, "sampler", cohort)
    match spec.sections.search.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
        case _:
            return optuna.samplers.RandomSampler(seed=seed)


def _pruner(spec: StudySpec) -> optuna.pruners.BasePruner:
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


def _most_epochs(spec: StudySpec) -> int:
    dimension = spec.space.get("epochs")
    if dimension is None:
        return spec.setting(spec.default).kind.epochs
    options = dimension.grid() or (dimension.nearest(2**62),)
    return max(value for value in options if isinstance(value, int))


def _optuna_study(
    spec: StudySpec, told: Sequence[Trial], sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    """Build an in-memory study that knows every finished trial."""
    study = optuna.create_study(
        study_name=spec.name,
        direction="minimize" if spec.is_minimised else "maximize",
        sampler=sampler,
    )
    distributions = _distributions(spec.space)
    study.add_trials(
        _frozen(
            spec.space,
            distributions,
            trial.params,
            _STATES[trial.state],
            trial.fold_means if trial.state is not TrialState.FAILED else (),
            trial.value,
        )
        for trial in told
    )
    return study


def _frozen(
    space: SearchSpace,
    distributions: Mapping[str, BaseDistribution],
    params: Params,
    state: OptunaState,
    fold_means: Sequence[float],
    value: float | None,
) -> FrozenTrial:
    inside = nearest_inside(space, params)
    return create_trial(
        state=state,
        params={name: to_optuna(space[name], inside[name]) for name in space},
        distributions=dict(distributions),
        intermediate_values=dict(enumerate(fold_means, start=1)),
        value=value,
    )


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    return {name: json_to_distribution(distribution_json(dim)) for name, dim in space.items()}


def _next_on_grid(
    spec: StudySpec, seen: Sequence[Params], first: list[dict[str, Value]], n: int
) -> list[dict[str, Value]]:
    """Return the default if it is due, then the next points not seen, in an order by seed."""
    names = sorted(spec.space)
    points = list(itertools.product(*(spec.space[name].grid() or () for name in names)))
    random.Random(seed_for(spec.seed, "grid")).shuffle(points)
    done = {tuple(params[name] for name in names) for params in seen}
    left = (point for point in points if point not in done)
    fresh = itertools.islice(left, n - len(first))
    return first + [dict(zip(names, point, strict=True)) for point in fresh]
