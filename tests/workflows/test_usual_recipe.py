"""What a study that names only its data gives: better than the linear model, or a warning."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

import selection

pytestmark = [pytest.mark.usual_recipe, pytest.mark.whole_baselines, pytest.mark.slow]


@pytest.mark.parametrize(
    ("load", "rows", "trials"),
    [
        pytest.param(load_iris, 150, 4, id="iris"),
        pytest.param(load_wine, 178, 4, id="wine"),
        pytest.param(load_breast_cancer, 100, 4, id="100 rows"),
        pytest.param(load_digits, 1797, 2, id="digits"),
    ],
)
def test_the_defaults_beat_the_linear_baseline_or_say_that_they_do_not(
    load: Any, rows: int, trials: int
) -> None:
    features, target = load(return_X_y=True, as_frame=True)
    drawn = features.sample(rows, random_state=0).index
    content = {
        "search": {"metric": "accuracy", "trials": trials, "audit": 0},
        "assessment": {"baselines": ["linear"]},
        "final": {"seeds": 1},
    }
    study = selection.run(content, features.loc[drawn], target.loc[drawn], progress=False)
    linear = study.best.baselines["linear"]
    observed = study.best.observed
    is_warned = any(warning.code == "linear_wins" for warning in study.warnings)
    assert observed.mean > 0.9
    assert is_warned or observed.mean > linear.mean
