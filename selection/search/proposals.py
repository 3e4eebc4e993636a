"""Proposes the next trials, with Optuna's samplers or from a grid.

Each cohort asks a new Optuna study of the trials finished so far, with a sampler seeded by the
study's seed and the cohort's number. So a resumed study proposes the same as an uninterrupted one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import optuna

from selection.search.history import History, new_study
from selection.seeds import seed32_for, seed_for
from selection.study.optuna_names import from_optuna
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, Value


def propose(
    spec: StudySpec,
    finished: Sequence[Trial],
    n: int,
    cohort: int,
    pending: Sequence[Trial] = (),
    history: History | None = None,
) -> list[dict[str, Value]]:
    """Return the params of the next n trials; the first trial of a study is its default.

    finished are all finished trials of earlier cohorts, ordered by number; pending are those that
    other workers train. A history that is reused between cohorts saves time and changes nothing.
    """
    first = [] if cohort else [dict(spec.default)]
    sampler = spec.sections.search.sampler
    if sampler == "grid":
        seen = [*(trial.params for trial in (*finished, *pending)), *first]
        return _next_on_grid(spec, seen, first, n)
    history = history or History(spec)
    if sampler == "random":
        # This sampler does not use earlier trials.
        study = new_study(spec, _sampler(spec, cohort))
    else:
        study = history.study(finished, _sampler(spec, cohort))
    for params in first:
        study.add_trial(history.running(params))
    distributions = history.distributions
    asked = [study.ask(fixed_distributions=distributions) for _ in range(n - len(first))]
    return first + [
        {name: from_optuna(dim, trial.params[name]) for name, dim in spec.space.items()}
        for trial in asked
    ]


def _sampler(spec: StudySpec, cohort: int) -> optuna.samplers.BaseSampler:
    seed = seed32_for(spec.seed, "sampler", cohort)
    match spec.sections.search.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
        case _:
            return optuna.samplers.RandomSampler(seed=seed)


def _next_on_grid(
    spec: StudySpec, seen: Sequence[Params], first: list[dict[str, Value]], n: int
) -> list[dict[str, Value]]:
    """Return first, then points that were not seen, in a random order given by the seed."""
    names = sorted(spec.space)
    points = list(itertools.product(*(spec.space[name].grid() or () for name in names)))
    random.Random(seed_for(spec.seed, "grid")).shuffle(points)
    done = {tuple(params[name] for name in names) for params in seen}
    left = (point for point in points if point not in done)
    fresh = itertools.islice(left, n - len(first))
    return first + [dict(zip(names, point, strict=True)) for point in fresh]
