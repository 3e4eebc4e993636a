"""Proposes the next trials, with Optuna's samplers or from a grid.

TPE and GP start from a Sobol sequence. Each cohort asks a new Optuna study of the trials finished
so far, with a sampler seeded by the study's seed and the cohort's number. So a resumed study
proposes the same as an uninterrupted one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import optuna

from selection.search.asked import Asked
from selection.search.history import History
from selection.search.sampled_space import from_sampled
from selection.search.sobol import sobol_points
from selection.seeds import seed32_for, seed_for
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, TrialState, Value

# How often a sampler is asked again for a trial, where it proposes what was asked for before.
TRIES = 8


def propose(
    spec: StudySpec,
    finished: Sequence[Trial],
    n: int,
    cohort: int,
    pending: Sequence[Trial] = (),
    history: History | None = None,
) -> list[dict[str, Value]]:
    """Return the params of the next n trials; the first trial of a study is its default.

    No setting is proposed twice while others are untried, and no near-copy of a trial that runs.
    finished are the finished trials of earlier cohorts, ordered by number; pending are the others,
    which run. A history that is reused between cohorts saves time and changes nothing.
    """
    known = {trial.number for trial in finished}
    running = [trial for trial in pending if trial.number not in known]
    first = [] if cohort else [dict(spec.default)]
    if spec.sections.search.sampler == "grid":
        seen = [*(trial.params for trial in (*finished, *running)), *first]
        return _next_on_grid(spec, seen, first, n)
    return _propose_new(spec, finished, running, first, n, cohort, history or History(spec))


def _propose_new(
    spec: StudySpec,
    finished: Sequence[Trial],
    running: Sequence[Trial],
    first: list[dict[str, Value]],
    n: int,
    cohort: int,
    history: History,
) -> list[dict[str, Value]]:
    """Return first, then new settings: those that are suggested, and else random ones."""
    now = history.place(running)
    # Random search does not look at trials that run, of which there may be thousands.
    shown = () if spec.sections.search.sampler == "random" else now
    study = history.study(finished, _sampler(spec, cohort), shown)
    generator = random.Random(seed_for(spec.seed, "untried", cohort))
    asked = Asked(spec, history.settings, now, len(running) + n, generator)
    for params in first:
        study.add_trial(history.running(params))
        asked.add(params)
    if _starts(spec, finished):
        number = 1 + max((trial.number for trial in (*finished, *running)), default=-1)
        suggested = sobol_points(spec, number + len(first))
    else:
        suggested = _suggestions(spec, study, history)
    proposed = list(first)
    while len(proposed) < n:
        params, is_suggested = _next(suggested, asked)
        asked.add(params)
        if not is_suggested:
            study.add_trial(history.running(params))
        proposed.append(params)
    return proposed


def _next(suggested: Iterator[dict[str, Value]], asked: Asked) -> tuple[dict[str, Value], bool]:
    """Return the next params, and whether they are among those suggested."""
    first = next(suggested)
    if asked.is_exhausted:
        return first, True
    for params in itertools.chain([first], itertools.islice(suggested, TRIES - 1)):
        if asked.is_new(params):
            return params, True
    found = asked.random_new()
    return (first, True) if found is None else (found, False)


def _suggestions(
    spec: StudySpec, study: optuna.Study, history: History
) -> Iterator[dict[str, Value]]:
    """Ask the sampler again and again.

    What it has suggested stays in the study as running, so that it looks elsewhere.
    """
    while True:
        trial = study.ask(fixed_distributions=history.distributions)
        yield {name: from_sampled(dim, trial.params[name]) for name, dim in spec.space.items()}


def _starts(spec: StudySpec, finished: Sequence[Trial]) -> bool:
    """Say whether the sampler has nothing to learn from yet."""
    search = spec.sections.search
    states = {"tpe": (TrialState.COMPLETE, TrialState.PRUNED), "gp": (TrialState.COMPLETE,)}
    if search.sampler not in states:
        return False
    return not any(trial.state in states[search.sampler] for trial in finished)


def _sampler(spec: StudySpec, cohort: int) -> optuna.samplers.BaseSampler:
    seed = seed32_for(spec.seed, "sampler", cohort)
    match spec.sections.search.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
        case "gp":
            return optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=1, deterministic_objective=False
            )
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
