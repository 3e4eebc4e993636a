"""What the engine promises of a trial whatever its neighbours, its number and its pack."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from selection.data.prepare import FoldData
from selection.study.activations import ACTIVATIONS
from selection.study.setting import Setting
from selection.study.trial import TrialResult, TrialState
from selection.train import batches, fit, graph, pack
from selection.train.batches import Epoch, Table, in_bytes, load_rows
from selection.train.bucket import Bucket
from selection.train.fit import Trainer
from selection.train.lockstep import Decide
from selection.train.optimizer import Layer
from selection.train.optimizers import make_optimizer
from selection.train.pack import Pack
from selection.train.plan import PackPlan
from selection.train.refit import fit_members
from tests.train.examples import make_folds, make_setting

SEED = 3
CPU = torch.device("cpu")


def train(
    settings: list[Setting],
    folds: list[FoldData] | None = None,
    decide: Decide = lambda epoch, means: (),
    **options: Any,
) -> list[TrialResult]:
    trainer = Trainer(
        folds or make_folds(), "classification", "cross_entropy", SEED, CPU, **options
    )
    return trainer.train(settings, decide)


def points(result: TrialResult) -> np.ndarray:
    return np.stack([fold.curve.points for fold in result.folds])


def test_a_rerun_is_bitwise_equal() -> None:
    settings = [make_setting(dropout=0.2), make_setting(widths=[20], weight_decay=0.1)]
    first, second = train(settings), train(settings)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(points(one), points(other))
        for a, b in zip(one.folds, other.folds, strict=True):
            np.testing.assert_array_equal(a.outputs, b.outputs)


@pytest.mark.parametrize(
    "neighbour",
    [
        make_setting(dropout=0.7, weight_decay=0.5, learning_rate=0.3),
        make_setting(learning_rate=1e30),
    ],
    ids=["random", "diverging"],
)
def test_a_neighbour_changes_no_bit_at_fixed_pack_shape(neighbour: Setting) -> None:
    rows = load_rows(make_folds(), "classification", CPU, torch.float32, torch.float32)
    plan = PackPlan(((0, 1),), (0, 1, 2))
    calm, beside = (
        Pack(plan, [make_setting(), other], rows, "cross_entropy", SEED)
        for other in (make_setting(learning_rate=0.01), neighbour)
    )
    for _ in range(4):
        calm.train_epoch()
        beside.train_epoch()
        one, other = calm.evaluate(), beside.evaluate()
        assert torch.equal(one[:, 0], other[:, 0])
        assert not torch.equal(one[:, 1], other[:, 1])
    assert torch.isfinite(other[:, 1]).all() == (neighbour.learning_rate < 1)


def test_alone_or_among_diverging_pruned_and_wider_neighbours_is_the_same_curve() -> None:
    setting = make_setting(widths=[11], epochs=6, dropout=0.1)
    crowd = [
        make_setting(widths=[40], epochs=6),
        make_setting(widths=[12], epochs=6, learning_rate=1e30),
        make_setting(widths=[3], epochs=6, dropout=0.5),
        setting,
    ]
    alone = train([setting])[0]
    results = train(crowd, decide=lambda epoch, means: {0} if epoch == 2 else set())
    assert [r.state for r in results] == [
        TrialState.PRUNED,
        TrialState.FAILED,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    np.testing.assert_allclose(points(results[3]), points(alone), rtol=1e-4, atol=1e-5)
    assert (points(alone)[:, 0] != points(alone)[:, -1]).any(), "the curve must move"


@pytest.mark.parametrize("members", [1, 2, 3, 5, 100])
def test_the_size_of_packs_changes_no_curve(members: int) -> None:
    settings = [make_setting(widths=[w], dropout=0.2) for w in (4, 9, 30)]
    for one, other in zip(train(settings), train(settings, max_members=members), strict=True):
        np.testing.assert_allclose(points(one), points(other), rtol=1e-4, atol=1e-5)


def test_a_diverged_trial_fails_with_its_place_and_never_counts_inf() -> None:
    result = train([make_setting(learning_rate=1e30), make_setting()])
    assert result[0].state is TrialState.FAILED
    assert result[0].reason.startswith("diverged: non-finite loss in repeat 0, fold ")
    assert result[0].value is None
    assert result[0].epochs < 3
    assert all(fold.outputs is None for fold in result[0].folds)
    assert result[1].state is TrialState.COMPLETE


def test_pruned_trials_keep_their_curve_and_stop_there() -> None:
    settings = [make_setting(epochs=5, widths=[w]) for w in (4, 5, 6)]
    finished: list[tuple[int, tuple[int, ...]]] = []

    def decide(epoch: int, means: Mapping[int, float]) -> set[int]:
        finished.append((epoch, tuple(means)))
        return {1} if epoch == 2 else set()

    results = train(settings, decide=decide)
    assert results[1].state is TrialState.PRUNED
    assert results[1].epochs == 2
    assert points(results[1]).shape == (3, 2, 6)
    # Finished trials are not asked about: the last epoch has nobody left.
    assert finished == [(1, (0, 1, 2)), (2, (0, 1, 2)), (3, (0, 2)), (4, (0, 2))]


def test_fold_means_are_what_decide_was_given() -> None:
    finished: dict[int, float] = {}

    def decide(epoch: int, means: Mapping[int, float]) -> set[int]:
        finished[epoch] = means[0]
        return set()

    result = train([make_setting(epochs=3)], decide=decide)[0]
    assert result.fold_means[:2] == (finished[1], finished[2])
    assert result.value == result.fold_means[2]


def test_weights_are_drawn_at_the_true_shape_of_each_member() -> None:
    folds = make_folds(features=50, is_shared=False)
    rows = load_rows(folds, "classification", CPU, torch.float64, torch.float64)
    settings = [make_setting(init="xavier_normal", widths=[w]) for w in (20, 400)]
    bucket = Bucket(settings, [0, 1, 2], rows, SEED)
    for fold, features in enumerate((50, 49, 50)):
        for trial, width in enumerate((20, 400)):
            member = fold * 2 + trial
            drawn = bucket.layers[0].weight[member, :width, :features]
            expected = (2.0 / (features + width)) ** 0.5
            assert float(drawn.std()) == pytest.approx(expected, rel=0.1)
            assert not bucket.layers[0].weight[member, width:].any()
            assert not bucket.layers[0].weight[member, :, features:].any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_padded_units_stay_exactly_zero(activation: str, optimizer: str) -> None:
    rows = load_rows(make_folds(), "classification", CPU, torch.float32, torch.float32)
    settings = [
        make_setting(
            depth=2, activation=activation, optimizer=optimizer, widths=w, weight_decay=0.1
        )
        for w in ([3, 8], [7, 4])
    ]
    bucket = Bucket(settings, [0, 1, 2], rows, SEED)
    epoch = Epoch(rows, [0, 1, 2], SEED, 1, 16, bucket.dropped_units)
    for _, batch in epoch.minibatches():
        bucket.step(batch)
    for trial, (first, second) in enumerate(([3, 8], [7, 4])):
        for member in (trial, 2 + trial, 4 + trial):
            one, two, three = (layer.weight[member] for layer in bucket.layers)
            assert not one[first:].any()
            assert not two[:, first:].any()
            assert not two[second:].any()
            assert not three[:, second:].any()
            # Sigmoid alone is not 0 at 0; sigmoid(-inf) is.
            padding = -torch.inf if activation == "sigmoid" else 0.0
            assert (bucket.layers[0].bias[member, first:] == padding).all()
            assert one[:first].all()


def test_one_step_without_gradient_scales_weights_and_leaves_biases() -> None:
    setting = make_setting(learning_rate=0.1, weight_decay=0.5)
    layer = Layer(torch.full((1, 2, 3), 2.0), torch.full((1, 2, 1), 2.0))
    optimizer = make_optimizer([setting], 1, layer.weight)
    optimizer.watch([layer])
    optimizer.begin_step(torch.ones(1, 1, 1, 4), 1)
    optimizer.update(0, layer, torch.zeros(1, 2, 4), torch.ones(1, 3, 4))
    torch.testing.assert_close(layer.weight, torch.full((1, 2, 3), 2.0 * 0.95))
    assert (layer.bias == 2.0).all()


@pytest.mark.parametrize("metric", ["roc_auc"])
def test_a_fold_without_a_score_fails_its_trial_and_is_never_pruned(metric: str) -> None:
    folds = make_folds(classes=2)
    for fold in folds:
        fold.targets[folds[1].validation] = 0
    trainer = Trainer(folds, "classification", metric, SEED, CPU)
    asked: list[int] = []

    def decide(epoch: int, _means: Mapping[int, float]) -> tuple[int, ...]:
        asked.append(epoch)
        return ()

    (result,) = trainer.train([make_setting()], decide)
    assert result.state is TrialState.FAILED
    assert result.reason == "roc_auc is not defined in repeat 0, fold 1, epoch 1"
    assert asked == []


@pytest.mark.slow
def test_packs_that_ran_out_of_memory_are_gone_before_their_halves_train(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = Pack.train_epoch
    alive: weakref.WeakSet[Pack] = weakref.WeakSet()
    most: list[int] = []

    def greedy(self: Pack) -> None:
        alive.add(self)
        gc.collect()
        most.append(sum(pack.plan.members for pack in alive))
        if self.plan.members > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        honest(self)

    monkeypatch.setattr(Pack, "train_epoch", greedy)
    results = train([make_setting(widths=[w]) for w in (4, 9)], max_members=100)
    assert [result.state for result in results] == [TrialState.COMPLETE] * 2
    assert max(most) == 6, "halves lived beside the pack they replace"


def test_out_of_memory_halves_the_pack_and_loses_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [make_setting(widths=[w], epochs=4) for w in (4, 4, 9, 9)]
    calm = train(settings)
    limit = 5
    sizes: list[int] = []
    honest = Pack.train_epoch

    def greedy(self: Pack) -> None:
        if self.plan.members > limit and self.epoch == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(self.plan.members)
        honest(self)

    monkeypatch.setattr(Pack, "train_epoch", greedy)
    squeezed = train(settings)
    assert max(sizes) == 12
    assert sizes[-1] <= limit
    for one, other in zip(calm, squeezed, strict=True):
        assert other.state is TrialState.COMPLETE
        np.testing.assert_allclose(points(one), points(other), rtol=1e-5, atol=1e-6)


def test_out_of_memory_while_pruned_trials_are_dropped_loses_no_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = [make_setting(widths=[w], epochs=4, optimizer="adam") for w in (4, 9, 9)]
    honest = Bucket.keep
    failures: list[Bucket] = []

    def decide(epoch: int, _means: object) -> set[int]:
        return {1} if epoch == 2 else set()

    def full(self: Bucket, trials: list[int]) -> None:
        if not failures:
            failures.append(self)
            self.layers[0].weight = self.layers[0].weight[:1]  # some of it is gone already
            raise torch.OutOfMemoryError("CUDA out of memory")
        honest(self, trials)

    calm = train(settings, decide=decide, max_members=100)
    monkeypatch.setattr(Bucket, "keep", full)
    squeezed = train(settings, decide=decide, max_members=100)
    assert failures
    for one, other in zip(calm, squeezed, strict=True):
        assert other.state is one.state
        np.testing.assert_allclose(points(one), points(other), rtol=1e-5, atol=1e-6)


def test_a_member_too_large_beside_graphs_is_trained_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every graph takes memory; where it is short of that, all packs go on without any."""
    settings = [make_setting(batch_size=8, epochs=6), make_setting(batch_size=16, epochs=6)]
    packs: weakref.WeakSet[Pack] = weakref.WeakSet()
    refused: list[int] = []
    honest = Pack.train_epoch

    def greedy(self: Pack) -> None:
        packs.add(self)
        graphs = sum(each._graph is not None for each in packs)
        if self.epoch == 1 and graphs:
            refused.append(self.plan.members)
            raise torch.OutOfMemoryError("CUDA out of memory")
        honest(self)

    calm = train(settings, max_members=100)
    monkeypatch.setattr(pack, "has_graphs", lambda device: True)
    monkeypatch.setattr(pack, "StepGraph", CountedSteps)
    monkeypatch.setattr(Pack, "train_epoch", greedy)
    squeezed = train(settings, max_members=100)
    assert 1 in refused, "halved as far as they could be"
    for one, other in zip(calm, squeezed, strict=True):
        assert other.state is TrialState.COMPLETE, other.reason
        np.testing.assert_allclose(points(one), points(other), rtol=1e-5, atol=1e-6)


def test_one_member_too_large_for_memory_fails_its_trial_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = Pack.train_epoch

    def greedy(self: Pack) -> None:
        if any(s.widths == (50,) for bucket in self._buckets for s in bucket.settings):
            raise torch.OutOfMemoryError("CUDA out of memory")
        honest(self)

    monkeypatch.setattr(Pack, "train_epoch", greedy)
    small, large = train([make_setting(widths=[4]), make_setting(widths=[50])])
    assert small.state is TrialState.COMPLETE
    assert large.state is TrialState.FAILED
    assert large.reason.startswith("out of memory")


def test_other_runtime_errors_are_not_taken_for_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_self: Pack) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Pack, "train_epoch", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train([make_setting()])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_bfloat16_rounds_hidden_layers_only(depth: int, activation: str, optimizer: str) -> None:
    # Adam divides a gradient by its own size: of a tiny one, rounding may turn the sign.
    rate = 0.05 if optimizer == "sgd" else 0.001
    options: dict[str, Any] = {
        "depth": depth,
        "activation": activation,
        "optimizer": optimizer,
        "epochs": 3,
        "learning_rate": rate,
    }
    settings = [
        make_setting(precision="bfloat16", widths=[w] * depth, dropout=0.2, **options)
        for w in (9, 16)
    ]
    exact = train(settings)
    rounded = train(settings, precision="bfloat16")
    for one, other in zip(exact, rounded, strict=True):
        assert not np.array_equal(points(one), points(other))
        # A number of bfloat16 has 8 bits: 1 / 256 per product.
        np.testing.assert_allclose(points(other)[..., 0::2], points(one)[..., 0::2], rtol=0.02)
        for a, b in zip(one.folds, other.folds, strict=True):
            assert a.outputs is not None
            assert b.outputs is not None
            spread = np.abs(b.outputs - a.outputs).max() / np.abs(a.outputs).max()
            assert spread < 0.05
            # Outputs themselves are not rounded: 16 bits of their fraction are in use.
            assert np.any(b.outputs.view(np.int32) & 0xFFFF)


def test_bfloat16_names_the_same_winner() -> None:
    settings = [
        make_setting(widths=[32], epochs=8, learning_rate=rate) for rate in (0.3, 0.03, 3e-4)
    ]
    folds = make_folds(rows=400)
    ranks = [
        np.argsort([result.value or 0.0 for result in train(settings, folds, precision=precision)])
        for precision in ("float32", "bfloat16")
    ]
    np.testing.assert_array_equal(ranks[0], ranks[1])


class CountedSteps:
    """Stand in for a graph where there is no GPU: each replay runs the captured step again."""

    made: ClassVar[list[str]] = []

    def __init__(self, step: Callable[[], None]) -> None:
        self.replay = step
        self.made.append(getattr(step, "func", step).__name__)
        step()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("is_shared", [True, False])
def test_steps_that_the_device_counts_are_the_steps(
    monkeypatch: pytest.MonkeyPatch, optimizer: str, is_shared: bool
) -> None:
    settings = [
        make_setting(
            widths=[9, w], depth=2, batch_size=8, epochs=9, dropout=0.2, optimizer=optimizer
        )
        for w in (4, 9, 30)
    ]
    folds = make_folds(is_shared=is_shared)

    def decide(epoch: int, _means: object) -> set[int]:
        return {1} if epoch == 2 else set()

    plain = train(settings, folds, decide)
    monkeypatch.setattr(pack, "has_graphs", lambda device: True)
    monkeypatch.setattr(pack, "StepGraph", CountedSteps)
    CountedSteps.made.clear()
    counted = train(settings, folds, decide)
    assert CountedSteps.made == ["_counted_step", "_score_in_place"] * 2, (
        "anew when a trial is pruned"
    )
    for one, other in zip(plain, counted, strict=True):
        assert one.state == other.state
        np.testing.assert_array_equal(points(one), points(other))


def test_a_cohort_is_gone_once_it_has_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its predictions can be large; they do not wait for the garbage collector."""
    cohorts: weakref.WeakSet[object] = weakref.WeakSet()
    begin = fit._Cohort.__init__

    def watched(self: fit._Cohort, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        cohorts.add(self)

    monkeypatch.setattr(fit._Cohort, "__init__", watched)
    gc.disable()
    try:
        assert train([make_setting(), make_setting(widths=[9])])
        assert not cohorts
    finally:
        gc.enable()


def test_a_gpu_is_locked_while_a_pack_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cohort, in the replay of a halved pack, and in the training of a final model."""
    held: list[bool] = []
    original = Pack.train_epoch

    def evaluation() -> None:
        is_free = graph._GPU_LOCK.acquire(blocking=False)
        held.append(not is_free)
        if is_free:
            graph._GPU_LOCK.release()

    def watched(self: Pack) -> None:
        thread = threading.Thread(target=evaluation)
        thread.start()
        thread.join()
        if len(held) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        original(self)

    monkeypatch.setattr(Pack, "train_epoch", watched)
    monkeypatch.setattr(graph, "has_graphs", lambda device: True)
    train([make_setting()], max_members=100)
    assert len(held) == 8, "one pack, and two halves that replay an epoch"
    fit_members(make_setting(), make_folds(), "classification", "accuracy", SEED, CPU)
    assert len(held) > 8
    assert all(held)


def test_grey_levels_are_kept_in_bytes_and_read_as_they_were() -> None:
    pixels = (torch.arange(600 * 4) * 7 % 256).view(600, 4) / 255.0
    table = Table(pixels, (0, 300))
    coded = in_bytes(table)
    assert coded.values.dtype == torch.uint8
    index = torch.tensor([[5, 0], [599, 300]])
    assert torch.equal(coded.take(index), table.take(index))
    assert in_bytes(Table(torch.rand(600, 4), (0,))).levels is None


def test_a_pack_reads_coded_rows_as_it_reads_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = [replace(fold, features=np.round(fold.features * 10) / 10) for fold in make_folds()]
    plain = train([make_setting(dropout=0.2)], folds)
    honest = batches._features
    tables = []

    def coded_features(*words: Any) -> Table:
        tables.append(in_bytes(honest(*words)))
        return tables[-1]

    monkeypatch.setattr(batches, "_features", coded_features)
    coded = train([make_setting(dropout=0.2)], folds)
    assert tables[0].levels is not None
    np.testing.assert_array_equal(points(plain[0]), points(coded[0]))


# Learned factors of inputs, and learned shares of activations.


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_padded_units_of_parametric_activations_stay_exactly_zero(
    activation: str, optimizer: str
) -> None:
    rows = load_rows(make_folds(), "classification", CPU, torch.float32, torch.float32)
    settings = [
        make_setting(
            activation=activation,
            optimizer=optimizer,
            widths=[width],
            dropout=0.2,
            weight_decay=0.1,
            input_scaling=True,
            parametric_activation=True,
        )
        for width in (3, 7)
    ]
    bucket = Bucket(settings, [0, 1, 2], rows, SEED)
    epoch = Epoch(rows, [0, 1, 2], SEED, 1, 16, bucket.dropped_units)
    for _, batch in epoch.minibatches():
        bucket.step(batch)
    first, last = bucket.layers
    assert first.mix is not None
    assert first.scale is not None
    for member in (0, 2, 4):
        assert not first.weight[member, 3:].any()
        assert not first.bias[member, 3:].any()
        assert not first.mix[member, 3:].any()
        assert not last.weight[member, :, 3:].any()
        assert (first.mix[member, :3] != 1.0).any(), "nothing was learned"
        assert (first.scale[member] != 1.0).any(), "nothing was learned"


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_neighbours_change_no_bit_of_learned_factors(optimizer: str) -> None:
    rows = load_rows(make_folds(), "classification", CPU, torch.float32, torch.float32)
    options: dict[str, Any] = {
        "input_scaling": True,
        "parametric_activation": True,
        "optimizer": optimizer,
    }
    plan = PackPlan(((0, 1),), (0, 1, 2))
    packs = [
        Pack(plan, [make_setting(**options), other], rows, "cross_entropy", SEED)
        for other in (
            make_setting(learning_rate=0.01, **options),
            make_setting(learning_rate=1e30, dropout=0.5, weight_decay=0.5, **options),
        )
    ]
    for _ in range(3):
        for each in packs:
            each.train_epoch()
        calm, beside = (each.evaluate() for each in packs)
        assert torch.equal(calm[:, 0], beside[:, 0])
        assert not torch.equal(calm[:, 1], beside[:, 1])


def test_bfloat16_keeps_learned_factors_exact() -> None:
    options: dict[str, Any] = {
        "depth": 2,
        "activation": "mish",
        "input_scaling": True,
        "parametric_activation": True,
    }
    settings = [
        make_setting(precision="bfloat16", widths=[w] * 2, dropout=0.2, **options) for w in (9, 16)
    ]
    for one, other in zip(train(settings), train(settings, precision="bfloat16"), strict=True):
        np.testing.assert_allclose(points(other)[..., 0::2], points(one)[..., 0::2], rtol=0.02)


def test_pruned_neighbours_take_their_learned_factors_with_them() -> None:
    options: dict[str, Any] = {
        "input_scaling": True,
        "parametric_activation": True,
        "optimizer": "adam",
        "epochs": 4,
    }
    settings = [make_setting(widths=[width], **options) for width in (4, 5, 6)]
    results = train(settings, decide=lambda epoch, means: {0} if epoch == 2 else set())
    for setting, result in zip(settings[1:], results[1:], strict=True):
        (alone,) = train([setting])
        np.testing.assert_allclose(points(result), points(alone), rtol=1e-4, atol=1e-5)
