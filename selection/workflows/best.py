"""The answer of a study as plain values: who won, how good it is, and beside what.

Every score is named by its kind: observed, corrected, or held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selection.study.ensemble import counts_of, weights_of
from selection.study.fields import Rule
from selection.study.trial import Params
from selection.workflows.assess import Assessment, Baseline, require_winner
from selection.workflows.correct import Correction


@dataclass(frozen=True)
class Observed:
    """Hold the cross-validated score that chose the winner, which makes it optimistic.

    standard_error is taken over folds, None where there is only one.
    """

    mean: float
    standard_error: float | None
    folds: tuple[float, ...]


@dataclass(frozen=True)
class Best:
    """Hold the winner of a study.

    ensemble has the weight of each trial where the winner is an ensemble; number and params are
    then those of the trial with the greatest. It is None for a trial.
    corrected is None where there was no choice to correct for; why_uncorrected then says why. ties
    are the numbers of the trials that the folds cannot tell from the winner.
    """

    number: int
    params: Params
    metric: str
    rule: Rule
    observed: Observed
    corrected: Correction | None
    why_uncorrected: str
    baselines: Mapping[str, Baseline]
    ties: tuple[int, ...]
    is_final: bool
    ensemble: Mapping[int, float] | None = None


def best_of(assessment: Assessment) -> Best:
    """Return the answer of an assessment.

    Raises: StudyStateError if no trial is complete.
    """
    winner = require_winner(assessment)
    assert winner.value is not None, "a complete trial has a score"
    counts = counts_of(winner)
    return Best(
        number=winner.number,
        params=winner.params,
        metric=assessment.spec.metric,
        rule=assessment.rule,
        observed=Observed(winner.value, winner.standard_error, winner.fold_scores),
        corrected=assessment.correction,
        why_uncorrected=assessment.why_uncorrected,
        baselines=assessment.baselines,
        ties=tuple(assessment.indistinguishable),
        is_final=assessment.is_finished,
        ensemble=None if counts is None else weights_of(counts),
    )
