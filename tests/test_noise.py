"""On pure-noise labels nothing is found, and nothing is claimed."""

from __future__ import annotations

import numpy as np
import pytest
from noise import CHANCE, noise_results


@pytest.mark.slow
def test_the_verdict_is_honest_on_noise() -> None:
    results = list(noise_results(20))
    assert len(results) == 20
    assert sum(result.contains_chance for result in results) >= 17
    assert sum(result.claims > 0 for result in results) <= 2
    # What is corrected was wrong before: the winner's own score is far from chance.
    assert np.mean([result.observed for result in results]) > CHANCE + 0.05
    assert abs(np.mean([result.estimate for result in results]) - CHANCE) < 0.025
