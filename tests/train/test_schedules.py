"""Schedules, clipping and the constants of Adam: beside torch's own, and what they cost others."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selection.study.schedules import SCHEDULES
from selection.study.setting import Setting
from selection.study.trial import TrialResult, TrialState
from selection.train import pack
from selection.train.batches import load_rows
from selection.train.fit import Trainer
from selection.train.pack import Pack
from selection.train.plan import PackPlan, plan_packs
from selection.train.refit import fit_members
from selection.train.schedules import FUNCTIONS, Clock, factors, warm_up
from tests import reference
from tests.train.examples import make_folds, make_setting, task_of
from tests.train.test_pack_is_reference import OPTIMIZERS, SEED, assert_equal_to_reference
from tests.train.test_refit import make_unequal_folds

CPU = torch.device("cpu")
MOVING = [name for name in SCHEDULES if name != "constant"]
# The name in pytabkit, and its get_schedule(name).call_time_(t) for t in TIMES.
TIMES = (0.0, 0.1, 0.3, 0.45, 0.5, 0.65, 0.75, 0.9, 0.99)
PYTABKIT = {
    "cosine": ("cos", (1.0, 0.9755282581475768, 0.7938926261462366, 0.5782172325201155, 0.5,
                       0.2730047501302266, 0.14644660940672627, 0.02447174185242318,
                       0.0002467198171342)),
    "coslog4": ("coslog4", (0.0, 0.7183546884620604, 0.9838444269228755, 0.020563690960599068,
                            0.07361893418585597, 0.9472930369148214, 0.8756577310807727,
                            0.18620080012567708, 0.0018214406488273327)),
    "one_cycle": ("fastai1", (0.04, 0.28, 1.0, 0.8909161775710499, 0.8117456539497631,
                              0.5000019999999998, 0.28306099820869923, 0.04951936798652623,
                              0.0005074647154756917)),
    "flat_cos": ("flat_cos", (1.0, 1.0, 1.0, 1.0, 1.0, 0.7938926261462365, 0.5,
                              0.09549150281252627, 0.0009866357858642205)),
}  # fmt: skip
FULL: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "weight_decay": 0.2,
    "dropout": 0.3,
    "beta1": 0.8,
    "beta2": 0.95,
    "eps": 1e-6,
    "clip_norm": 0.5,
    "schedule": "coslog4",
    "warmup": 0.2,
    "dropout_schedule": "flat_cos",
    "weight_decay_schedule": "cosine",
}


def every_factor(name: str, epochs: int, steps: int) -> NDArray[np.float64]:
    """Return the factors of all steps of a training."""
    clocks = [Clock(epoch, epochs, (steps,)) for epoch in range(1, epochs + 1)]
    return np.concatenate([factors([name], clock)[:, 0] for clock in clocks])


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (7, 3), (20, 50), (3, 40)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_that_of_torch(name: str, epochs: int, steps: int) -> None:
    expected = reference.schedule_factors(name, epochs * steps)
    np.testing.assert_allclose(every_factor(name, epochs, steps), expected, rtol=0, atol=1e-12)


def test_one_cycle_is_that_of_torch_as_it_comes() -> None:
    # Its phases end a step early: in a long training that is a small difference.
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10_000)
    found = every_factor("one_cycle", 100, 100)
    for own in found:
        assert own == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-3)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", PYTABKIT)
def test_a_schedule_is_that_of_pytabkit(name: str) -> None:
    _, expected = PYTABKIT[name]
    np.testing.assert_allclose(FUNCTIONS[name](np.array(TIMES)), expected, rtol=0, atol=1e-12)


def test_the_numbers_of_pytabkit_are_its_own() -> None:
    scheduling = pytest.importorskip("pytabkit.models.training.scheduling")
    for other, expected in PYTABKIT.values():
        schedule = scheduling.get_schedule(other)
        np.testing.assert_allclose([schedule.call_time_(t) for t in TIMES], expected, atol=1e-12)


def test_warm_up_is_linear_and_ends_at_its_share() -> None:
    first, second = (warm_up([0.0, 0.25, 1.0, 0.01], Clock(n, 2, (8,))) for n in (1, 2))
    steps = np.arange(1, 17)
    found = np.concatenate([first, second]).T
    np.testing.assert_allclose(found[0], 1.0)
    np.testing.assert_allclose(found[1], np.minimum(steps / 4, 1.0))
    np.testing.assert_allclose(found[2], steps / 16)
    np.testing.assert_allclose(found[3], 1.0, err_msg="less than a step is no warm-up")


def test_warm_up_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 4, total_iters=3)
    for own in warm_up([0.25], Clock(1, 1, (16,)))[:, 0]:
        assert own == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_every_fold_counts_its_own_steps() -> None:
    table = factors(["cosine", "constant"], Clock(2, 2, (4, 3)))
    assert table.shape == (4, 4)  # fold by fold, trial by trial
    expected = [0.5 * (1 + math.cos(math.pi * t)) for t in (4 / 8, 5 / 8, 6 / 8, 7 / 8)]
    np.testing.assert_allclose(table[:, 0], expected)
    expected = [0.5 * (1 + math.cos(math.pi * t)) for t in (3 / 6, 4 / 6, 5 / 6)]
    np.testing.assert_allclose(table[:3, 2], expected)
    np.testing.assert_array_equal(table[:, (1, 3)], 1.0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MOVING)
def test_every_schedule_of_every_optimizer_equals_plain_torch(name: str, optimizer: str) -> None:
    options: dict[str, Any] = {"depth": 2, **OPTIMIZERS[optimizer]}
    settings = [
        make_setting(schedule=name, **options),
        make_setting(**options),  # one without beside it
        make_setting(schedule=name, warmup=0.3, widths=[9, 4], **options),
        make_setting(warmup=0.4, dropout=0.2, **options),
        make_setting(weight_decay_schedule=name, **options),
    ]
    assert_equal_to_reference(settings, make_unequal_folds(), "cross_entropy")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])  # dropped by the bias, and by a mask
def test_dropout_that_moves_equals_plain_torch(activation: str, optimizer: str) -> None:
    options: dict[str, Any] = {"depth": 2, "activation": activation, **OPTIMIZERS[optimizer]}
    settings = [
        make_setting(dropout_schedule=name, dropout=0.1 * index, **options)
        for index, name in enumerate(SCHEDULES)
    ]
    assert_equal_to_reference(settings, make_unequal_folds(), "macro_f1")


@pytest.mark.parametrize("classes", [3, 0])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_clipping_equals_plain_torch(optimizer: str, classes: int) -> None:
    # Norms lie near 1: one always clips, one sometimes, one never, and one is not asked to.
    options: dict[str, Any] = {"depth": 2, **OPTIMIZERS[optimizer]}
    settings = [
        make_setting(clip_norm=norm, widths=[4 + index, 9], dropout=0.2, **options)
        for index, norm in enumerate((0.01, 0.8, 1e6, 0.0))
    ]
    metric = "macro_f1" if classes else "rmse"
    assert_equal_to_reference(settings, make_unequal_folds(classes, is_shared=False), metric)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_inputs_that_a_member_does_not_see_have_no_part_in_its_norm(optimizer: str) -> None:
    options: dict[str, Any] = {"clip_norm": 0.3, **OPTIMIZERS[optimizer]}
    settings = [make_setting(features=seen, **options) for seen in (1, 0, 3)]
    assert_equal_to_reference(settings, make_folds(is_shared=False), "accuracy")


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_constants_of_adam_equal_plain_torch(optimizer: str) -> None:
    options: dict[str, Any] = {"depth": 1, **OPTIMIZERS[optimizer]}
    shared = [make_setting(beta1=0.5, beta2=0.9, eps=1e-3, widths=[w], **options) for w in (4, 9)]
    each = [
        make_setting(beta1=beta1, beta2=beta2, eps=eps, **options)
        for beta1, beta2, eps in ((0.0, 0.0, 1e-3), (0.9, 0.95, 1e-8), (0.99, 0.9999, 1e-2))
    ]
    for settings in (shared, each):
        assert_equal_to_reference(settings, make_unequal_folds(), "cross_entropy")


@pytest.mark.parametrize("classes", [3, 0])
def test_everything_at_once_equals_plain_torch_after_200_steps(classes: int) -> None:
    settings = [
        make_setting(depth=2, epochs=50, **FULL),
        make_setting(depth=2, epochs=50, **{**FULL, "beta2": 0.99, "schedule": "one_cycle"}),
        make_setting(depth=2, epochs=50, **{**FULL, "clip_norm": 2.0, "warmup": 0.0}),
    ]
    folds = make_unequal_folds(classes)
    assert 50 * -(-max(len(fold.training) for fold in folds) // 16) >= 200
    metric = "cross_entropy" if classes else "rmse"
    assert_equal_to_reference(settings, folds, metric)


def test_a_refit_moves_as_plain_torch() -> None:
    folds = make_unequal_folds()
    fitted = fit_members(make_setting(**FULL), folds, "classification", "accuracy", SEED, CPU)
    for data, own in zip(folds, fitted, strict=True):
        model = reference.train(make_setting(**FULL), data, "accuracy", SEED, torch.float32).model
        linears = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
        for layer, linear in zip(own.layers, linears, strict=True):
            np.testing.assert_allclose(layer.weight, linear.weight.detach(), rtol=1e-4, atol=1e-5)


def moving_settings(optimizer: str, **options: Any) -> list[Setting]:
    """Return settings of one bucket whose rate, penalty and dropout move, and one where none does.

    All clip if one is asked to.
    """
    same = {
        "depth": 2,
        "epochs": 9,
        "batch_size": 8,
        "dropout": 0.3,
        **OPTIMIZERS[optimizer],
        **options,
    }
    return [
        make_setting(schedule="coslog4", warmup=0.1, **same),
        make_setting(schedule="cosine", dropout_schedule="flat_cos", **same),
        make_setting(weight_decay_schedule="one_cycle", dropout_schedule="cosine", **same),
        make_setting(**same),
    ]


def train(
    settings: Sequence[Setting], decide: Callable[..., Collection[int]] = lambda *_: ()
) -> list[TrialResult]:
    folds = make_unequal_folds()
    return Trainer(folds, task_of(folds), "cross_entropy", SEED, CPU).train(settings, decide)


def points(result: TrialResult) -> NDArray[np.float64]:
    return np.stack([fold.curve.points for fold in result.folds])


def weights(trained: Pack) -> list[bytes]:
    """Return all weights and biases of a pack."""
    members = [(line, column) for line in range(3) for column in range(len(trained.trials))]
    layers = [pair for line, column in members for pair in trained.weights_of(line, column)]
    return [part.numpy().tobytes() for parts in layers for part in parts if part is not None]


def make_pack(settings: Sequence[Setting], trials: Sequence[int] | None = None) -> Pack:
    rows = load_rows(make_unequal_folds(), "classification", CPU, torch.float32, torch.float32)
    plan = PackPlan((tuple(trials or range(len(settings))),), (0, 1, 2))
    return Pack(plan, settings, rows, "cross_entropy", SEED)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ({}, {"schedule": "cosine"}),
        ({}, {"warmup": 0.5}),
        ({"weight_decay": 0.1}, {"weight_decay_schedule": "flat_cos"}),
        ({"dropout": 0.2}, {"dropout_schedule": "cosine"}),
        ({"optimizer": "adamw", "weight_decay": 0.1}, {"schedule": "coslog4", "warmup": 0.5}),
        ({"optimizer": "adamw"}, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-4}),
        ({"optimizer": "adam", "clip_norm": 0.5}, {"clip_norm": 0.01}),
        ({"momentum": 0.9, "clip_norm": 0.5}, {"clip_norm": 0.01, "schedule": "step"}),
    ],
)
def test_a_neighbour_that_moves_changes_no_bit(own: dict[str, Any], other: dict[str, Any]) -> None:
    setting = make_setting(depth=2, widths=[37, 21], **own)
    calm, beside = (
        make_pack([setting, make_setting(depth=2, widths=[37, 21], **{**own, **more})])
        for more in ({}, other)
    )
    for _ in range(3):
        calm.train_epoch()
        beside.train_epoch()
        one, two = calm.evaluate(), beside.evaluate()
        assert torch.equal(one[:, 0], two[:, 0])
    assert not torch.equal(one[:, 1], two[:, 1])


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_pack_that_lost_members_goes_on_where_its_schedules_were(
    optimizer: str, clip_norm: float
) -> None:
    settings = moving_settings(optimizer, clip_norm=clip_norm)
    pruned = train(settings, lambda epoch, _: {3: {1}, 6: {2}}.get(epoch, ()))
    whole = train(settings)
    assert [each.state for each in pruned].count(TrialState.PRUNED) == 2
    for one, other in zip(pruned, whole, strict=True):
        np.testing.assert_allclose(
            points(one), points(other)[:, : one.epochs], rtol=1e-4, atol=1e-5
        )


def test_members_that_were_dropped_leave_the_others_their_constants() -> None:
    betas = [(0.5, 0.9, 1e-3), (0.9, 0.99, 1e-8), (0.8, 0.95, 1e-4)]
    settings = [
        make_setting(
            optimizer="adam", epochs=6, clip_norm=0.1 * beta1, beta1=beta1, beta2=beta2, eps=eps
        )
        for beta1, beta2, eps in betas
    ]
    kept, alone = make_pack(settings), make_pack(settings, [2])
    for epoch in range(6):
        if epoch == 2:
            kept.keep({2})
        kept.train_epoch()
        alone.train_epoch()
    for one, other in zip(weights(kept), weights(alone), strict=True):
        found, expected = (np.frombuffer(each, np.float32) for each in (one, other))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_pack_that_ran_out_of_memory_trains_the_same(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    settings = moving_settings(optimizer)
    whole = train(settings)
    honest = Pack.train_epoch

    def greedy(self: Pack) -> None:
        if self.epoch == 4 and self.plan.members > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        honest(self)

    monkeypatch.setattr(Pack, "train_epoch", greedy)
    for one, other in zip(train(settings), whole, strict=True):
        np.testing.assert_allclose(points(one), points(other), rtol=1e-4, atol=1e-5)


class Repeated:
    """Stand in for a graph: take a step that reads its number, and every value, from tensors."""

    def __init__(self, step: Callable[[], None]) -> None:
        self.replay = step
        step()


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_captured_step_takes_the_values_of_its_own_number(
    monkeypatch: pytest.MonkeyPatch, optimizer: str, clip_norm: float
) -> None:
    settings = moving_settings(optimizer, clip_norm=clip_norm)
    plain = make_pack(settings)
    monkeypatch.setattr(pack, "has_graphs", lambda device: True)
    monkeypatch.setattr(pack, "StepGraph", Repeated)
    captured = make_pack(settings)
    for epoch in range(9):
        if epoch == 3:
            plain.keep({0, 1, 3})
            captured.keep({0, 1, 3})
        plain.train_epoch()
        captured.train_epoch()
        assert captured._graph is not None
        assert torch.equal(plain.evaluate(), captured.evaluate())
    assert weights(plain) == weights(captured)


def test_a_bucket_in_which_nothing_moves_has_no_table() -> None:
    still, moving = make_pack([make_setting()]), make_pack([make_setting(schedule="step")])
    for trained, has_table in ((still, False), (moving, True)):
        trained.train_epoch()
        assert (trained._buckets[0]._moving._table is not None) == has_table


def test_members_that_clip_are_a_bucket_of_their_own() -> None:
    # What the others cost does not change, and neither do their bits.
    rows = load_rows(make_folds(), "classification", CPU, torch.float32, torch.float32)
    norms = (0.0, 1.0, 0.0, 0.5)
    for optimizer in OPTIMIZERS:
        settings = [make_setting(clip_norm=norm, **OPTIMIZERS[optimizer]) for norm in norms]
        (plan,) = plan_packs(settings, rows)
        assert sorted(plan.buckets) == [(0, 2), (1, 3)]
