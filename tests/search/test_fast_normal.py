"""What TPE computes on arrays is, bit for bit, what Optuna computes number by number."""

from __future__ import annotations

import math

import numpy as np
from optuna.samplers._tpe import _truncnorm

from selection.search import propose
from selection.search.fast_normal import log_ndtr, log_ndtr_of_each
from selection.study.trial import Trial, TrialState
from tests.search.test_search import make_spec


def test_every_bit_is_optunas() -> None:
    generator = np.random.default_rng(0)
    edges = [-20.0, -1.0, 0.0, -0.0, 1.0, 6.0, 1e300, -1e100, math.inf]
    near = [np.nextafter(edge, side) for edge in edges[:6] for side in (-math.inf, math.inf)]
    drawn = generator.normal(size=20_000) * 8
    values = np.concatenate([drawn, 100 * drawn[:100], edges, near])
    expected = log_ndtr_of_each(values)
    assert log_ndtr(values).tobytes() == expected.tobytes()
    assert log_ndtr(values[:100].reshape(4, 25)).tobytes() == expected[:100].tobytes()
    assert log_ndtr(values[:0]).shape == (0,)


def test_tpe_uses_it() -> None:
    spec = make_spec(sampler="tpe")
    trial = Trial(0, TrialState.COMPLETE, spec.default, 0, value=0.5, fold_means=(0.5,))
    propose(spec, [trial], 1, 1)
    assert _truncnorm._log_ndtr is log_ndtr
