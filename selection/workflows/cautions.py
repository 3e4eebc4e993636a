"""What a careful colleague would object to in an answer: one rule per function, and no words.

Pure functions of an assessment; each returns None where there is nothing to object to. The
sentences stand in report/warnings.py. The limits are our own choice (decision 29).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from selection.metrics import METRICS
from selection.study.ensemble import Ensemble
from selection.study.hyperparameters import WHOLE_FIELDS, is_number
from selection.study.space import Choices, Dimension
from selection.study.space_file import wrong_value
from selection.study.trial import Trial, TrialState, Value

if TYPE_CHECKING:
    # `selection status` reads all_failed, and starts without SciPy.
    from selection.store.study_record import StudyRecord
    from selection.study.setting import Setting
    from selection.study.spec import StudySpec
    from selection.workflows.assess import Assessment

# Below so many updates even the best of many learning rates has not arrived (decision 29).
FEW_UPDATES = 100
# A winner within this share of a range, in its own scale, lies at its end.
EDGE_SHARE = 0.05
# Of fewer values, chance alone puts most winners at an end.
FEWEST_VALUES = 4
# Classes are skewed from this quotient of the largest class and the mean of the others.
SKEW = 2.0
# Accuracy is near the majority share while it removes less than this share of its errors.
REMOVED_ERRORS = 0.2


@dataclass(frozen=True)
class AllFailed:
    """Say that all trials that ended have failed; reason is the most frequent beginning of why."""

    code: ClassVar[str] = "all_failed"
    trials: int
    reason: str


@dataclass(frozen=True)
class LinearWins:
    """Hold the observed means where the linear baseline is better, or not shown to be worse."""

    code: ClassVar[str] = "linear_wins"
    linear: float
    winner: float
    is_better: bool


@dataclass(frozen=True)
class ImbalancedAccuracy:
    """Hold the share of the largest class, which the observed accuracy is near to."""

    code: ClassVar[str] = "imbalanced_accuracy"
    name: str
    share: float
    accuracy: float


@dataclass(frozen=True)
class FewUpdates:
    """Hold how long the winner was trained: minibatches are those of an average training fold."""

    code: ClassVar[str] = "few_updates"
    epochs: int
    minibatches: int

    @property
    def updates(self) -> int:
        return self.epochs * self.minibatches


@dataclass(frozen=True)
class Edge:
    """Hold a hyperparameter of the winner that lies at an end of its dimension."""

    name: str
    value: float
    bound: float
    is_upper: bool
    is_choice: bool


@dataclass(frozen=True)
class EdgeOfSpace:
    """Hold every hyperparameter of the winner that lies at a bound that can move."""

    code: ClassVar[str] = "edge_of_space"
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class DefaultAsGood:
    """Hold the observed means of trial 0 and a winner that the folds cannot distinguish from it.

    is_winner means that trial 0 is the winner itself.
    """

    code: ClassVar[str] = "default_as_good"
    default: float
    winner: float
    is_winner: bool


@dataclass(frozen=True)
class ExactTies:
    """Hold the trials of distinct settings that share the best mean; the first of them won."""

    code: ClassVar[str] = "ties"
    numbers: tuple[int, ...]
    mean: float


@dataclass(frozen=True)
class NothingCorrected:
    """Say why the observed score was not corrected; was_chosen means that several competed."""

    code: ClassVar[str] = "nothing_corrected"
    why: str
    was_chosen: bool


Caution: TypeAlias = (
    AllFailed
    | LinearWins
    | ImbalancedAccuracy
    | FewUpdates
    | EdgeOfSpace
    | DefaultAsGood
    | ExactTies
    | NothingCorrected
)


def cautions(assessment: Assessment) -> list[Caution]:
    """Return all that there is to object to, what overturns the answer first."""
    found: list[Caution | None] = [all_failed(assessment.trials)]
    if (winner := assessment.winner) is not None:
        found += [rule(assessment, winner) for rule in RULES]
        found.append(nothing_corrected(assessment))
    return [each for each in found if each is not None]


def all_failed(trials: Sequence[Trial]) -> AllFailed | None:
    """Object to a study whose every finished trial failed."""
    ended = [trial for trial in trials if trial.state.is_finished]
    if not ended or any(trial.state is not TrialState.FAILED for trial in ended):
        return None
    # What follows the colon names a fold and an epoch.
    kinds = Counter(trial.reason.partition(":")[0] for trial in ended)
    return AllFailed(len(ended), kinds.most_common(1)[0][0])


def linear_wins(assessment: Assessment, winner: Trial) -> LinearWins | None:
    """Object to a winner that does not beat the linear baseline."""
    baseline = assessment.baselines.get("linear")
    if baseline is None or baseline.is_beaten:
        return None
    is_better = baseline.advantage.mean < 0
    return LinearWins(baseline.mean, _mean(winner), is_better)


def imbalanced_accuracy(assessment: Assessment, winner: Trial) -> ImbalancedAccuracy | None:
    """Object to an accuracy near what always predicting the largest of skewed classes scores."""
    counts = assessment.study.facts.class_counts
    if not METRICS[assessment.spec.metric].counts_hits or len(counts) < 2:
        return None
    name, largest = max(counts.items(), key=lambda pair: pair[1])
    rows = sum(counts.values())
    others = (rows - largest) / (len(counts) - 1)
    share = largest / rows
    is_near = _mean(winner) - share < REMOVED_ERRORS * (1 - share)
    if largest < SKEW * others or not is_near:
        return None
    return ImbalancedAccuracy(name, share, _mean(winner))


def few_updates(assessment: Assessment, winner: Trial) -> FewUpdates | None:
    """Object to a winner that was trained for fewer than FEW_UPDATES steps of its optimizer.

    Of an ensemble, here and where edges are looked for, that is its leading trial.
    """
    kind = assessment.spec.setting(winner.params).kind
    minibatches = math.ceil(_training_rows(assessment.spec, assessment.study) / kind.batch_size)
    found = FewUpdates(kind.epochs, minibatches)
    return found if found.updates < FEW_UPDATES else None


def edge_of_space(assessment: Assessment, winner: Trial) -> EdgeOfSpace | None:
    """Object to a winner at the end of a dimension that could be made larger there."""
    if len(_competing_settings(assessment)) < 2:
        return None
    names = assessment.spec.space
    edges = [_edge(assessment, winner, name) for name in names]
    shown = tuple(edge for edge in edges if edge is not None)
    return EdgeOfSpace(shown) if shown else None


def default_as_good(assessment: Assessment, winner: Trial) -> DefaultAsGood | None:
    """Object to a search whose winner cannot be distinguished from the default setting."""
    default = assessment.default
    if default is None or len(_competing_settings(assessment)) < 2:
        return None
    is_winner = winner.number == 0 and not isinstance(winner, Ensemble)
    if not is_winner and 0 not in assessment.indistinguishable:
        return None
    return DefaultAsGood(_mean(default), _mean(winner), is_winner)


def exact_ties(assessment: Assessment, winner: Trial) -> ExactTies | None:
    """Object to a winner that is only the first of several settings with the best mean."""
    complete = [trial for trial in assessment.trials if trial.state is TrialState.COMPLETE]
    better = min if assessment.spec.is_minimised else max
    best = better(map(_mean, complete))
    first_of: dict[Setting, int] = {}
    for trial in complete:
        if trial.value == best:
            first_of.setdefault(assessment.spec.setting(trial.params), trial.number)
    if isinstance(winner, Ensemble) or winner.value != best or len(first_of) < 2:
        return None
    return ExactTies(tuple(first_of.values()), best)


def nothing_corrected(assessment: Assessment) -> NothingCorrected | None:
    """Object to a score without a correction, which a choice among one setting has none of."""
    if assessment.correction is not None:
        return None
    was_chosen = len(_competing_settings(assessment)) > 1
    return NothingCorrected(assessment.why_uncorrected, was_chosen)


# In the order of a reader's interest.
RULES = (
    linear_wins,
    imbalanced_accuracy,
    few_updates,
    edge_of_space,
    default_as_good,
    exact_ties,
)


def _edge(assessment: Assessment, winner: Trial, name: str) -> Edge | None:
    """Return the end of a dimension where the winner lies, if it can move and has an effect."""
    spec, dimension, value = assessment.spec, assessment.spec.space[name], winner.params[name]
    ends = _ends(dimension)
    if ends is None or not is_number(value):
        return None
    if name == "epochs" and winner.best_epoch not in (None, value):
        return None  # its best epoch lies inside
    low, high = ends
    if spec.setting({**winner.params, name: low}) == spec.setting({**winner.params, name: high}):
        return None
    share = _share(dimension, float(value), float(low), float(high))
    is_upper = share > 0.5
    bound = high if is_upper else low
    # The default may lie outside the space.
    is_near = 0 <= share <= EDGE_SHARE or 1 - EDGE_SHARE <= share <= 1
    if not is_near or not _can_move(assessment, name, bound, is_upper=is_upper):
        return None
    return Edge(name, value, bound, is_upper, isinstance(dimension, Choices))


def _ends(dimension: Dimension) -> tuple[float, float] | None:
    """Return the least and the greatest value; None without an order, and of too few values."""
    if isinstance(dimension, Choices):
        numbers = sorted(filter(is_number, dimension.options))
        is_ordered = len(numbers) == len(dimension.options)
        return (numbers[0], numbers[-1]) if is_ordered and len(numbers) >= FEWEST_VALUES else None
    low, high = dimension.nearest(dimension.low), dimension.nearest(dimension.high)
    assert is_number(low), "a range is of numbers"
    assert is_number(high), "a range is of numbers"
    step = dimension.step or (1 if dimension.integer else 0)
    is_coarse = bool(step) and round((high - low) / step) + 1 < FEWEST_VALUES
    return None if is_coarse else (low, high)


def _share(dimension: Dimension, value: float, low: float, high: float) -> float:
    """Return how far between its ends a value lies, in the scale of its dimension."""
    if isinstance(dimension, Choices):
        # Neighbours of an end are other values, however near they are.
        return {low: 0.0, high: 1.0}.get(value, 0.5)
    if dimension.log:
        value, low, high = (
            math.log(number) if number > 0 else -math.inf for number in (value, low, high)
        )
    return (value - low) / (high - low)


def _can_move(assessment: Assessment, name: str, bound: float, *, is_upper: bool) -> bool:
    """Say whether the next number beyond a bound may be asked for, and would be another MLP."""
    facts = assessment.study.facts
    if is_upper and name == "features":
        return bound < facts.inputs
    if is_upper and name == "batch_size":
        return bound < _training_rows(assessment.spec, assessment.study)
    if name in WHOLE_FIELDS:
        beyond: Value = int(bound) + (1 if is_upper else -1)
    else:
        beyond = math.nextafter(bound, math.inf if is_upper else -math.inf)
    return wrong_value(name, beyond, name) is None


def _competing_settings(assessment: Assessment) -> set[Setting]:
    """Return the distinct settings that could have won: a pruned trial was a competitor too."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return {
        assessment.spec.setting(trial.params)
        for trial in assessment.trials
        if trial.state in states
    }


def _training_rows(spec: StudySpec, study: StudyRecord) -> float:
    """Return the rows that a fold is trained on, on average."""
    cv = spec.sections.cv
    rows = study.facts.rows
    return rows / 2 if cv.kind == "time_series" else rows * (cv.folds - 1) / cv.folds


def _mean(trial: Trial) -> float:
    assert trial.value is not None, "a complete trial has a value"
    return trial.value
