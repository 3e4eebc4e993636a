"""Is the GPU right? Curves of small cohorts against the CPU, eager steps and a rerun.

The last kind is 784-256-10 itself: cuBLAS uses different kernels for large matrices.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu_setup import (
    CALM,
    SEED,
    make_data,
    make_folds,
    make_settings,
    make_spec,
    note,
    print_text,
)
from selection.data.prepare import FoldData
from selection.study.setting import Setting
from selection.study.trial import TrialResult
from selection.train import pack as pack_module
from selection.train.fit import Trainer


@dataclass(frozen=True)
class Difference:
    """Hold the largest relative differences of one kind's curves."""

    kind: str
    from_cpu: float
    from_eager: float
    is_bitwise: bool


KINDS: Mapping[str, Mapping[str, Any]] = {
    "relu, SGD, ragged": {"width": [[40], [64], [17]], "weight_decay": 1e-3},
    "relu, SGD, dropout": {"width": [[64], [64], [64]], "dropout": 0.3},
    "relu, momentum": {"width": [[64, 32], [48, 48], [64, 64]], "momentum": 0.9},
    "tanh, Nesterov": {
        "width": [[64], [32], [64]],
        "activation": "tanh",
        "momentum": 0.8,
        "nesterov": True,
    },
    "tanh, AdamW, dropout": {
        "width": [[64, 32], [48, 48], [64, 64]],
        "activation": "tanh",
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
        "dropout": 0.2,
    },
    "every part of a recipe": {
        "width": [[64, 32], [48, 48], [64, 64]],
        "activation": "mish",
        "parametric_activation": True,
        "input_scaling": True,
        "numeric_embedding": "pbld",
        "embedding_scale": 0.1,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "dropout": 0.2,
        "schedule": "coslog4",
        "dropout_schedule": "flat_cos",
        "weight_decay_schedule": "flat_cos",
    },
}


IMAGES_KIND = "784-256-10"
EPOCHS = 8  # enough for scores to be captured as well as steps, before and after a trial is pruned


def differences(device: torch.device, images: Sequence[FoldData]) -> list[Difference]:
    """Train small cohorts of which one trial is pruned after the first epoch, and compare."""
    spec = make_spec("differences", EPOCHS, metric="cross_entropy")
    folds = make_folds(make_data(spec, 1797, 64, levels=17), spec)
    found = [
        _difference(kind, folds, _kind_settings(values), device) for kind, values in KINDS.items()
    ]
    found.append(
        _difference(
            IMAGES_KIND,
            images,
            make_settings(make_spec("large", 2, metric="cross_entropy"), 2, CALM),
            device,
        )
    )
    return found


def _difference(
    kind: str, folds: Sequence[FoldData], settings: Sequence[Setting], device: torch.device
) -> Difference:
    plain, again = (_curves_of(folds, settings, device) for _ in range(2))
    cpu = _curves_of(folds, settings, torch.device("cpu"))
    with mock.patch.object(pack_module, "has_graphs", return_value=False):
        eager = _curves_of(folds, settings, device)
    is_bitwise = all(np.array_equal(a, b) for a, b in zip(plain, again, strict=True))
    note(kind)
    return Difference(kind, farthest(plain, cpu), farthest(plain, eager), is_bitwise)


def _kind_settings(values: Mapping[str, Any]) -> list[Setting]:
    """Return a setting per width. A batch of 64 leaves a rest of the rows of a fold."""
    shared = {"learning_rate": 0.05, "batch_size": 64, "epochs": EPOCHS, **values}
    spec = make_spec("differences", EPOCHS)
    return [
        spec.setting({**shared, "width": tuple(width), "hidden_layers": len(width)})
        for width in values["width"]
    ]


def _curves_of(
    folds: Sequence[FoldData], settings: Sequence[Setting], device: torch.device
) -> list[NDArray[np.float64]]:
    def decide(epoch: int, _means: Mapping[int, float]) -> Collection[int]:
        return {1} if epoch == 1 else ()

    trainer = Trainer(folds, "classification", "cross_entropy", SEED, device)
    return curves(trainer.train(settings, decide))


def curves(results: Sequence[TrialResult]) -> list[NDArray[np.float64]]:
    """Return the curves of each trial. Shape: (F, T, 6) each."""
    return [np.stack([fold.curve.points for fold in result.folds]) for result in results]


def farthest(ones: Sequence[NDArray[Any]], others: Sequence[NDArray[Any]]) -> float:
    """Return the largest relative difference; infinity where some curve is of another length."""
    pairs = list(zip(ones, others, strict=True))
    if any(one.shape != other.shape for one, other in pairs):
        return math.inf
    return max(
        float(np.max(np.abs(one - other) / np.maximum(np.abs(other), 1e-12)))
        for one, other in pairs
    )


def print_differences(found: Sequence[Difference]) -> None:
    print_text(
        "Largest relative difference of losses and scores (cross-entropy) after every epoch, in "
        "strict float32: three trials x 5 folds on 1,797 rows of 64 features, batch 64, "
        f"{EPOCHS} epochs; and {IMAGES_KIND}, two trials x 5 folds, batch 256, 2 epochs. The "
        "second trial is pruned after the first epoch."
    )
    print("| kind | GPU from CPU | graph from eager | a rerun |")
    print("| --- | ---: | ---: | --- |")
    for each in found:
        rerun = "the same bits" if each.is_bitwise else "OTHER BITS"
        print(f"| {each.kind} | {each.from_cpu:.1e} | {each.from_eager:.1e} | {rerun} |")
