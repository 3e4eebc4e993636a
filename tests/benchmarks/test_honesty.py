"""What a study says of its winner is true, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.honesty_studies import CHANCE, Table, study_verdicts


@pytest.mark.slow
@pytest.mark.whole_baselines
@pytest.mark.parametrize("pruner", ["none", "successive_halving"])
def test_the_verdict_is_honest_on_noise(pruner: str) -> None:
    verdicts = list(study_verdicts(Table("noise", pruner=pruner), 20))
    assert len(verdicts) == 20
    assert sum(verdict.contains_truth for verdict in verdicts) >= 17
    assert sum(verdict.beats_constant for verdict in verdicts) <= 1
    assert sum(verdict.beats_any for verdict in verdicts) <= 2
    corrections = [v.correction for v in verdicts if v.correction is not None]
    assert len(corrections) == 20
    # What is corrected was wrong before: the winner's own score is far from chance.
    assert np.mean([verdict.observed for verdict in verdicts]) > CHANCE + 0.05
    estimate = np.mean([correction.estimate for correction in corrections])
    assert abs(estimate - CHANCE) < 0.025
    if pruner != "none":
        assert all(correction.pruned > 0 for correction in corrections)
        assert all(correction.complete >= 6 for correction in corrections)


def test_a_signal_is_found_and_its_truth_measured() -> None:
    (verdict,) = study_verdicts(Table("signal", rows=150, has_signal=True), 1)
    assert verdict.truth > CHANCE + 0.05
    assert CHANCE + 0.05 < verdict.fold_truth != verdict.truth
    assert verdict.contains_truth
