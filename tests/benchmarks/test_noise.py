"""On pure-noise labels nothing is found, and nothing is claimed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.noise import CHANCE, noise_results


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["none", "successive_halving"])
def test_the_verdict_is_honest_on_noise(pruner: str) -> None:
    results = list(noise_results(20, pruner))
    assert len(results) == 20
    assert sum(result.contains_chance for result in results) >= 17
    assert sum(result.claims > 0 for result in results) <= 2
    corrections = [result.correction for result in results if result.correction is not None]
    if pruner == "none":
        assert len(corrections) == 20
    # What is corrected was wrong before: the winner's own score is far from chance.
    assert np.mean([result.observed for result in results]) > CHANCE + 0.05
    estimate = np.mean([correction.estimate for correction in corrections])
    # Pruned trials were competitors too, and cannot be corrected for.
    assert abs(estimate - CHANCE) < (0.025 if pruner == "none" else 0.05)
