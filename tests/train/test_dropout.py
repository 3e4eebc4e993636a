"""Dropout noise: uniform, and unrelated between rows, units, layers and steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from selection.train.dropout import GRID, dropout_key, dropped_bias, keep_mask, noise, thresholds


def words(
    rows: int = 256, units: int = 512, step: int = 0, fold: int = 0, layer: int = 0
) -> torch.Tensor:
    keys = torch.tensor([dropout_key(7, 0, fold, layer, 1, step)], dtype=torch.int32)
    return noise(keys, rows, units)[0].T.double() / (GRID * 2**22)  # (B, H), uniform in [-1, 1)


def test_words_are_uniform() -> None:
    sample = torch.stack([words(step=step) for step in range(20)])
    counts = torch.histc(sample, bins=64, min=-1, max=1)
    expected = sample.numel() / 64
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert statistic < 120, "chi-square with 63 degrees of freedom: p < 1e-5"


@pytest.mark.parametrize("axis", ["row", "unit"])
def test_rows_and_units_are_uncorrelated(axis: str) -> None:
    sample = torch.cat([words(rows=64, units=64, step=step) for step in range(200)], dim=1)
    if axis == "unit":
        blocks = [words(rows=64, units=64, step=step) for step in range(200)]
        sample = torch.cat(blocks, dim=0).T
    correlation = torch.corrcoef(sample) - torch.eye(64)
    # 12,800 samples: the largest of 2,016 chance correlations lies near 0.035.
    assert float(correlation.abs().max()) < 0.05


def test_kept_masks_of_pairs_are_independent() -> None:
    # Linear correlation of words is not enough: masks are thresholds of them.
    sample = torch.cat([words(rows=48, units=64, step=step) for step in range(200)], dim=1)
    kept = (sample >= 0.0).double()
    correlation = torch.corrcoef(kept) - torch.eye(48)
    assert float(correlation.abs().max()) < 0.05


def test_steps_folds_and_layers_have_noise_of_their_own() -> None:
    samples = [words(), words(step=1), words(fold=1), words(layer=1)]
    for one, other in itertools.combinations(samples, 2):
        together = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))
        assert abs(float(together[0, 1])) < 0.02


def test_noise_does_not_depend_on_how_much_is_asked_for() -> None:
    assert torch.equal(words(rows=10, units=7), words(rows=300, units=900)[:10, :7])


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_the_kept_share_is_one_minus_the_probability(probability: float) -> None:
    keys = torch.tensor([dropout_key(7, 0, fold, 0, 1, 0) for fold in range(8)], dtype=torch.int32)
    below = torch.from_numpy(thresholds(np.array([probability]))).float().view(1, 1, 1, 1)
    mask = keep_mask(noise(keys, 256, 512), below)
    assert ((mask == 0.0) | (mask == 1.0)).all()
    bias = torch.linspace(-1.0, 1.0, 8 * 512).view(8, 512, 1)
    dropped = dropped_bias(noise(keys, 256, 512), below, bias)
    assert torch.equal(torch.where(mask > 0.0, bias, 0.0), torch.where(mask > 0.0, dropped, 0.0))
    assert (dropped[mask == 0.0] < -1e9).all()
    kept = (mask > 0.0).double().mean()
    assert float(kept) == pytest.approx(1.0 - probability, abs=0.002)
    if probability == 0.0:
        assert kept == 1.0
