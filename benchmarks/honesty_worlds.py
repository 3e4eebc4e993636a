"""Worlds whose truth is known: predictions of many trials, drawn without training anything.

A trial has a true quality at every rung and at the end. What it gets right is partly common to all
trials (the row is easy or hard) and partly its own; its own part moves slowly from rung to rung.
At the end several epochs may compete to score it: the best mean over folds chooses. The pruner, the
rule and the correction are the product's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from selection.search import judged_epochs, replay_pruner
from selection.stats.bbc_cv import Draws, Rows, Stage, draw_out_of_bag, fold_scores
from selection.stats.intervals import length_of_runs, percentiles
from selection.stats.scores import Floats
from selection.study.best_epoch import best_epoch, has_run_out
from selection.study.fields import Rule
from selection.study.spec import StudySpec, parse_study
from selection.workflows.correct import choice_in_bag, lower_bound, survivors_in_bag

EPOCHS, FOLDS, COHORT = 27, 5, 9
TRUTH_ROWS = 40_000
PRUNING = {"min_resource": 3, "reduction_factor": 3}


@dataclass(frozen=True)
class World:
    """Say what a simulated study is like.

    quality are the parameters of the Beta distribution of true accuracies, None where all trials
    are at chance; a regression has errors of standard deviation 1.5 minus that. steady is the
    correlation of a trial's own part between neighbouring rungs, common the share of the variance
    that all trials have in common. Rows come in units of this many: groups, or neighbours in time;
    half of a trial's own part is that of the unit. epochs compete at the end; a trial ends early
    after patience of them without a better mean. With a signal, each differs a little in quality.
    """

    name: str
    rows: int = 100
    trials: int = 27
    quality: tuple[float, float] | None = None
    metric: str = "accuracy"
    rule: Rule = "best"
    pruner: str = "successive_halving"
    steady: float = 0.8
    common: float = 0.4
    unit: int = 1
    is_time: bool = False
    epochs: int = 1
    patience: int = 0

    def spec(self) -> StudySpec:
        """Return the study file whose pruner and rule choose."""
        options = PRUNING if self.pruner == "successive_halving" else {}
        return parse_study(
            {
                "name": "world",
                "recipe": "book",
                "data": {"path": "none.csv", "target": "y"},
                "cv": {"folds": FOLDS, "kind": "time_series" if self.is_time else "kfold"},
                "training": {"epochs": EPOCHS},
                "space": {"learning_rate": {"low": 0.01, "high": 1.0, "log": True}},
                "search": {
                    "metric": self.metric,
                    "trials": self.trials,
                    "cohort": COHORT,
                    "pruner": self.pruner,
                    "pruner_options": options,
                },
            },
            self.name,
        )


@dataclass(frozen=True)
class Verdict:
    """Hold what one simulated study said, and the truth about its winner.

    survivors is the estimate that corrects for the choice among complete trials alone, given_epochs
    the one that takes the best epoch of each trial as given.
    """

    truth: float
    observed: float
    survivors: float
    given_epochs: float
    corrected: float
    low: float
    high: float
    bound: float
    pruned_wins: float
    complete: int


@dataclass(frozen=True, eq=False)
class _Study:
    """Hold one study of a world. Shape: qualities (S - 1, T) at the rungs, ends (E, T)."""

    world: World
    spec: StudySpec
    judged: tuple[int, ...]
    qualities: Floats
    ends: Floats
    generator: np.random.Generator

    def predictions(self, rows: int, trials: NDArray[np.int64]) -> NDArray[Any]:
        """Return hits, or errors for a regression, on fresh rows, at rungs and ends.

        Shape: (S - 1 + E, t, N).
        """
        world, draw = self.world, self.generator
        unit = np.arange(rows) // world.unit
        units = int(unit[-1]) + 1
        easy = draw.normal(size=units)[unit]
        stages = []
        own = np.zeros((len(trials), rows))
        qualities = np.concatenate([self.qualities, self.ends])
        for stage in range(len(qualities)):
            fresh = draw.normal(size=(len(trials), rows))
            if world.unit > 1:
                fresh += draw.normal(size=(len(trials), units))[:, unit]
                fresh /= np.sqrt(2)
            weight = world.steady if stage else 0.0
            own = weight * own + np.sqrt(1 - weight**2) * fresh
            latent = np.sqrt(world.common) * easy + np.sqrt(1 - world.common) * own
            quality = qualities[stage, trials, None]
            hits = latent < special.ndtri(quality)
            stages.append(hits if world.metric == "accuracy" else latent * (1.5 - quality))
        return np.stack(stages)

    def choice(self, judged: tuple[int, ...], trials: NDArray[np.int64]) -> Any:
        """Return the pruner and the rule for some of the trials; the first are the simplest."""
        numbers = trials.tolist()
        cohorts = (trials // COHORT).tolist()
        epochs = [EPOCHS] * len(numbers)
        survive = survivors_in_bag(self.spec, numbers, cohorts, epochs, judged)
        simplicity = np.arange(len(numbers))
        return choice_in_bag(
            survive, self.world.rule, simplicity, is_minimised=self.spec.is_minimised
        )


def simulate(world: World, spec: StudySpec, seed: int, bootstraps: int) -> Verdict:
    """Draw one study, let it prune and choose, correct it, and look the truth up."""
    generator = np.random.default_rng(seed)
    judged = judged_epochs(spec)
    qualities = _qualities(world, len(judged) + 1, generator)
    ends = _ends(world, qualities[-1], generator)
    study = _Study(world, spec, judged, qualities[:-1], ends, generator)
    everyone = np.arange(world.trials)
    table = study.predictions(world.rows, everyone)  # (S - 1 + E, T, N)
    rows = _rows(world, generator)
    once = np.ones((1, world.rows), dtype=np.int16)
    scores = np.stack([fold_scores(rows, stage[None], once)[0] for stage in table])
    rungs = len(judged)
    reached = _reached(study, scores[:rungs].mean(axis=2))
    ended = np.flatnonzero(reached == rungs)
    epochs, best = _epochs(study, scores[rungs:].mean(axis=2))
    of_best = scores[rungs + best, everyone]  # (T, J)
    choose_complete = study.choice((), ended)
    (chosen,) = choose_complete(np.empty((1, len(ended), 0)), of_best[None, ended])
    winner = int(ended[chosen])
    pairs = np.array([(trial, epoch) for trial in ended for epoch in range(epochs[trial])])
    at_rungs = [
        Stage(np.flatnonzero(reached >= stage), table[None, stage, reached >= stage])
        for stage in range(rungs)
    ]
    end = Stage(pairs[:, 0], table[None, rungs + pairs[:, 1], pairs[:, 0]])
    given = Stage(ended, table[None, rungs + best[ended], ended])
    choice = study.choice(judged, everyone)
    draws = draw_out_of_bag(rows, [*at_rungs, end], choice, bootstraps, seed)
    with_epochs = draw_out_of_bag(rows, [*at_rungs, given], choice, bootstraps, seed)
    complete_alone = Stage(np.searchsorted(ended, end.trials), end.predictions)
    alone = draw_out_of_bag(rows, [complete_alone], choose_complete, bootstraps, seed)
    low, high = percentiles(draws.scores, 0.95)
    predictions = table[None, rungs + best[winner], winner]
    return Verdict(
        truth=_truth(study, winner, int(best[winner])),
        observed=float(of_best[winner].mean()),
        survivors=float(np.nanmean(alone.scores)),
        given_epochs=float(np.nanmean(with_epochs.scores)),
        corrected=float(np.nanmean(draws.scores)),
        low=low,
        high=high,
        bound=lower_bound(spec, rows, draws, winner, predictions, seed),
        pruned_wins=_pruned_wins(draws, reached < rungs),
        complete=len(ended),
    )


def _epochs(study: _Study, means: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many of the last epochs each trial trains, and the index of the best.

    Shape: (E, T) -> (T,) and (T,).
    """
    most, trials = means.shape
    rule = {"is_minimised": study.spec.is_minimised}
    epochs, best = np.full(trials, most), np.zeros(trials, dtype=np.int64)
    for trial, curve in enumerate(means.T.tolist()):
        for count in range(1, most):
            if has_run_out(curve[:count], most, study.world.patience, **rule):
                epochs[trial] = count
                break
        best[trial] = best_epoch(curve[: epochs[trial]], most, **rule) - 1
    return epochs, best


def _qualities(world: World, stages: int, generator: np.random.Generator) -> Floats:
    """Return true qualities that grow towards the end. Shape: (S, T)."""
    if world.quality is None:
        return np.full((stages, world.trials), 0.5)
    final = generator.beta(*world.quality, size=world.trials)
    # Half of the way from chance is there at the first rung.
    shares = np.linspace(0.5, 1.0, stages)[:, None]
    wander = generator.normal(0.0, 0.03, size=(stages, world.trials)) * (1 - shares)
    return np.clip(0.5 + shares * (final - 0.5) + wander, 0.02, 0.98)


def _ends(world: World, final: Floats, generator: np.random.Generator) -> Floats:
    """Return true qualities at the epochs that compete. Shape: (T,) -> (E, T)."""
    if world.quality is None or world.epochs == 1:
        return np.tile(final, (world.epochs, 1))
    wander = generator.normal(0.0, 0.02, size=(world.epochs, world.trials))
    return np.clip(final + wander, 0.02, 0.98)


def _rows(world: World, generator: np.random.Generator) -> Rows:
    unit = np.arange(world.rows) // world.unit
    if world.is_time:
        folds = np.arange(world.rows) * (FOLDS + 1) // world.rows - 1
        run = length_of_runs(world.rows)
        return Rows(world.metric, np.zeros(world.rows), folds[None], None, run)
    folds = generator.permutation(np.arange(unit[-1] + 1) % FOLDS)[unit]
    groups = unit if world.unit > 1 else None
    return Rows(world.metric, np.zeros(world.rows), folds[None], groups)


def _reached(study: _Study, means: Floats) -> NDArray[np.int64]:
    """Return the last stage of each trial as the pruner decides. Shape: (S - 1, T) -> (T,)."""
    trials = means.shape[1]
    numbers, cohorts = range(trials), [number // COHORT for number in range(trials)]
    reached = np.zeros(trials, dtype=np.int64)
    for rungs in range(1, len(study.judged) + 1):
        values = means[:rungs].T[None]  # (1, T, E)
        judged = study.judged[:rungs]
        (ends,) = replay_pruner(study.spec, numbers, cohorts, [EPOCHS] * trials, judged, values)
        reached[ends] = rungs
    return reached


def _truth(study: _Study, winner: int, epoch: int) -> float:
    """Return the winner's score on rows that nobody chose by."""
    (values,) = study.predictions(TRUTH_ROWS, np.array([winner]))[len(study.qualities) + epoch]
    if study.world.metric == "accuracy":
        return float(values.mean())
    return float(np.sqrt(np.square(values).mean()))


def _pruned_wins(draws: Draws, is_pruned: NDArray[np.bool_]) -> float:
    return float(is_pruned[draws.chosen].mean())
