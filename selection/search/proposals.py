"""What to try next: Optuna's samplers, and grids.

Each cohort asks a new study of the trials finished by then, with a sampler seeded by (study seed,
cohort number), so a resumed study proposes what the uninterrupted one would have.
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

    finished holds every finished trial of the cohorts before, ordered by number; pending those that
    others train. A history that is kept between cohorts saves time and changes nothing.
    """
    first = [] if cohort else [dict(spec.default)]
    sampler = spec.sections.search.sampler
    if sampler == "grid":
        seen = [*(trial.params for trial in (*finished, *pending)), *first]
        return _next_on_grid(spec, seen, first, n)
    history = history or History(spec)
    if sampler == "random":
        # It looks at no trial.
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
    """Return the default if it is due, then the next points not seen, in an order by seed."""
    names = sorted(spec.space)
    points = list(itertools.product(*(spec.space[name].grid() or () for name in names)))
    random.Random(seed_for(spec.seed, "grid")).shuffle(points)
    done = {tuple(params[name] for name in names) for params in seen}
    left = (point for point in points if point not in done)
    fresh = itertools.islice(left, n - len(first))
    return first + [dict(zip(names, point, strict=True)) for point in fresh]
