"""Final training beside plain torch; its weights as outputs, as bytes and as layers of torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load, save
from torch import nn

from selection.data.prepare import FoldData
from selection.study.activations import ACTIVATIONS
from selection.study.setting import Setting
from selection.train import plan
from selection.train.batches import load_rows
from selection.train.mlp import BLOCK_ROWS, predict
from selection.train.plan import plan_packs
from selection.train.refit import Fitted, fit_members
from selection.train.weights import LayerWeights, MemberForm, decode_weights, encode_weights
from tests import reference
from tests.train.examples import make_folds, make_setting, task_of

SEED = 7
CPU = torch.device("cpu")
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "momentum": {"momentum": 0.9, "weight_decay": 0.05},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "adam": {"optimizer": "adam", "l2": 0.1, "learning_rate": 0.01},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.2, "learning_rate": 0.01},
}


def fit(setting: Setting, folds: Sequence[FoldData], seed: int = SEED) -> list[Fitted]:
    return fit_members(setting, folds, task_of(folds), metric_of(folds[0]), seed, CPU)


def metric_of(data: FoldData) -> str:
    return "accuracy" if data.classes else "rmse"


def linears(model: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in model if isinstance(layer, nn.Linear)]


def assert_equal_to_reference(setting: Setting, folds: Sequence[FoldData]) -> None:
    fitted = fit(setting, folds)
    assert len(fitted) == len(folds)
    for data, own in zip(folds, fitted, strict=True):
        # What is validated decides nothing of the weights; plain torch cannot score no rows.
        scored = replace(data, validation=data.training)
        truth = reference.train(setting, scored, metric_of(data), SEED, dtype=torch.float32)
        running = [own.running_loss, own.running_score]
        np.testing.assert_allclose(running, truth.points[-1, :2], rtol=1e-4)
        initial = linears(reference.build(setting, data, SEED, torch.float32))
        model = reference.folded(truth.model)
        layers = zip(own.layers, linears(model), initial, strict=True)
        for layer, linear, start in layers:
            assert layer.weight.dtype == layer.bias.dtype == np.float32
            assert layer.weight.shape == linear.weight.shape
            for ours, theirs, before in (
                (layer.weight, linear.weight, start.weight),
                (layer.bias, linear.bias, start.bias),
            ):
                np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-4, atol=1e-5)
                assert np.abs(ours - before.detach().numpy()).max() > 1e-3, "nothing was learned"
        mixes = [layer.mix for layer in own.layers if layer.mix is not None]
        learned = [layer.factor for layer in model if isinstance(layer, reference.Parametric)]
        for mix, factor in zip(mixes, learned, strict=True):
            np.testing.assert_allclose(mix, factor.detach(), rtol=1e-4, atol=1e-5)
            assert (mix != 1.0).any(), "nothing was learned"


def make_unequal_folds(classes: int = 3, *, is_shared: bool = True) -> list[FoldData]:
    """Return folds of 31, 69 and 48 training rows: 2, 5 and 3 batches of 16."""
    folds = make_folds(classes=classes, is_shared=is_shared)
    sizes = (31, 69, 48)
    return [
        replace(fold, training=fold.training[:size])
        for fold, size in zip(folds, sizes, strict=True)
    ]


def make_whole(classes: int = 3) -> FoldData:
    """Return all rows as training rows, as the refit of a study's winner has them."""
    fold = make_folds(classes=classes)[0]
    everything = np.arange(len(fold.targets), dtype=np.int64)
    return replace(fold, training=everything, validation=everything[:0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("depth", "dropout"), [(0, 0.0), (1, 0.3), (2, 0.0), (2, 0.3)])
@pytest.mark.parametrize("classes", [3, 0])
def test_weights_equal_plain_torch(
    classes: int, depth: int, dropout: float, optimizer: str
) -> None:
    setting = make_setting(depth=depth, dropout=dropout, **OPTIMIZERS[optimizer])
    assert_equal_to_reference(setting, make_unequal_folds(classes, is_shared=depth == 1))


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "relu"])
def test_weights_of_other_activations_equal_plain_torch(activation: str) -> None:
    setting = make_setting(depth=2, activation=activation, learning_rate=0.3, dropout=0.1)
    assert_equal_to_reference(setting, make_unequal_folds())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("depth", [0, 2])
def test_weights_with_learned_factors_equal_plain_torch(depth: int, optimizer: str) -> None:
    setting = make_setting(
        depth=depth,
        activation="mish",
        input_scaling=True,
        parametric_activation=True,
        **OPTIMIZERS[optimizer],
    )
    assert_equal_to_reference(setting, make_unequal_folds(is_shared=False))


@pytest.mark.parametrize("classes", [3, 0])
@pytest.mark.parametrize("depth", [0, 2])
def test_a_refit_on_all_rows_equals_plain_torch(depth: int, classes: int) -> None:
    whole = make_whole(classes)
    assert len(whole.training) == 103
    assert len(whole.validation) == 0
    assert_equal_to_reference(make_setting(depth=depth, dropout=0.2), [whole])
    assert_equal_to_reference(make_setting(depth=depth, momentum=0.9), [whole, whole])


def test_weights_come_back_in_the_order_of_the_folds_from_many_packs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "CPU_MOST_WORK", 1.0)
    monkeypatch.setattr(plan, "CPU_LEAST_WORK", 1.0)
    setting, folds = make_setting(dropout=0.2), make_unequal_folds(is_shared=False)
    rows = load_rows(folds, "classification", CPU, torch.float32, torch.float32)
    assert [each.folds for each in plan_packs([setting], rows)] == [(0,), (1,), (2,)]
    assert_equal_to_reference(setting, folds)


def bits(fitted: Fitted) -> bytes:
    return b"".join(layer.weight.tobytes() + layer.bias.tobytes() for layer in fitted.layers)


def test_one_seed_gives_the_same_bits_and_another_does_not() -> None:
    setting, folds = make_setting(depth=2, dropout=0.2), make_unequal_folds()
    first, again, other = fit(setting, folds), fit(setting, folds), fit(setting, folds, SEED + 1)
    assert [bits(one) for one in first] == [bits(one) for one in again]
    assert all(bits(one) != bits(two) for one, two in zip(first, other, strict=True))


def test_repeats_of_one_split_are_models_of_their_own() -> None:
    setting = make_setting(dropout=0.2)
    repeats = [replace(make_whole(), repeat=repeat) for repeat in range(3)]
    assert len({bits(one) for one in fit(setting, repeats)}) == 3
    assert_equal_to_reference(setting, repeats)


def test_rows_batches_and_updates_are_counted_fold_by_fold() -> None:
    fitted = fit(make_setting(batch_size=16, epochs=3), [*make_unequal_folds(), make_whole()])
    counted = [(one.rows, one.batches, one.updates) for one in fitted]
    assert counted == [(31, 2, 6), (69, 5, 15), (48, 3, 9), (103, 7, 21)]


def test_a_batch_that_divides_the_rows_and_one_larger_than_them() -> None:
    folds = make_unequal_folds()
    exact, large = (fit(make_setting(batch_size=size), folds)[2] for size in (24, 5000))
    assert (exact.rows, exact.batches, exact.updates) == (48, 2, 6)
    assert (large.rows, large.batches, large.updates) == (48, 1, 3)
    assert_equal_to_reference(make_setting(batch_size=5000, learning_rate=0.3), folds)


@pytest.mark.parametrize("depth", [0, 1])
def test_diverged_weights_are_not_finite(depth: int) -> None:
    calm = fit(make_setting(depth=depth), make_unequal_folds(classes=0))
    assert all(one.is_finite for one in calm)
    wild = make_setting(depth=depth, learning_rate=1e30)
    assert not any(one.is_finite for one in fit(wild, make_unequal_folds(classes=0)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("index", [0, 1])
def test_one_number_that_is_not_finite_is_enough(index: int, name: str, value: float) -> None:
    layers = make_layers((4, 3, 2))
    assert Fitted(layers, 1, 1, 1, 0.5, 0.5).is_finite
    getattr(layers[index], name).flat[-1] = value
    assert not Fitted(layers, 1, 1, 1, 0.5, 0.5).is_finite


# An MLP that has left its pack.


def make_layers(sizes: Sequence[int], seed: int = 0) -> tuple[LayerWeights, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        LayerWeights(
            (rng.normal(size=(fan_out, fan_in)) / np.sqrt(fan_in)).astype(np.float32),
            rng.normal(size=fan_out).astype(np.float32),
        )
        for fan_in, fan_out in itertools.pairwise(sizes)
    )


def make_features(rows: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(rows, width)).astype(np.float32)


def plain(
    layers: Sequence[LayerWeights], activation: str, features: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the outputs of an nn.Sequential of the same weights."""
    stacked: list[nn.Module] = []
    for layer in layers:
        linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
        state = {"weight": torch.tensor(layer.weight), "bias": torch.tensor(layer.bias)}
        linear.load_state_dict(state)
        stacked += [linear, reference.ACTIVATIONS[activation]()]
    with torch.no_grad():
        outputs: torch.Tensor = nn.Sequential(*stacked[:-1])(torch.tensor(features))
    return np.asarray(outputs.numpy())


SHAPES = [(4, 3), (4, 1), (4, 5, 3), (7, 9, 4, 1), (31, 17, 2), (40, 64, 32, 10)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_predictions_equal_a_plain_sequential(sizes: tuple[int, ...], activation: Any) -> None:
    layers, features = make_layers(sizes), make_features(1500, sizes[0])
    outputs = predict(layers, activation, features)
    assert outputs.dtype == np.float32
    assert outputs.shape == (1500, sizes[-1])
    np.testing.assert_allclose(outputs, plain(layers, activation, features), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 4095, 4096, 4097])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_first_rows_are_predicted_alike_however_many_follow(
    activation: str, sizes: tuple[int, ...], count: int
) -> None:
    assert BLOCK_ROWS == 4096
    layers, features = make_layers(sizes), make_features(4200, sizes[0])
    whole = predict(layers, activation, features)
    np.testing.assert_array_equal(predict(layers, activation, features[:count]), whole[:count])


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_rows_one_by_one_are_predicted_as_all_at_once(
    activation: str, sizes: tuple[int, ...]
) -> None:
    layers, features = make_layers(sizes), make_features(4100, sizes[0])
    whole = predict(layers, activation, features)
    rows = [*range(0, 4000, 53), *range(4090, 4100)]
    alone = [predict(layers, activation, features[row : row + 1])[0] for row in rows]
    np.testing.assert_array_equal(np.stack(alone), whole[rows])


@pytest.mark.parametrize("sizes", [(4, 3), (4, 5, 1)], ids=str)
def test_no_rows_give_no_predictions(sizes: tuple[int, ...]) -> None:
    outputs = predict(make_layers(sizes), "relu", make_features(0, 4))
    assert outputs.shape == (0, sizes[-1])
    assert outputs.dtype == np.float32


# Weights as bytes.


def forms(*depths: int, is_parametric: bool = False) -> list[MemberForm]:
    return [MemberForm(depth, is_parametric) for depth in depths]


def make_members() -> list[tuple[LayerWeights, ...]]:
    return [make_layers((4, 5, 3), seed=1), make_layers((6, 3), seed=2)]


def assert_same_bits(
    members: Sequence[Sequence[LayerWeights]], again: Sequence[Sequence[LayerWeights]]
) -> None:
    assert [len(layers) for layers in again] == [len(layers) for layers in members]
    pairs = zip(itertools.chain(*members), itertools.chain(*again), strict=True)
    for layer, other in pairs:
        for ours, theirs in ((layer.weight, other.weight), (layer.bias, other.bias)):
            assert theirs.dtype == np.float32
            assert theirs.shape == ours.shape
            assert theirs.tobytes() == ours.tobytes()


def test_weights_return_bit_for_bit() -> None:
    members = make_members()
    members[0][0].weight.flat[:5] = [-0.0, np.nan, np.inf, 1e-45, np.finfo(np.float32).max]
    content = encode_weights(members, {})
    assert_same_bits(members, decode_weights(content, forms(2, 1)))
    assert encode_weights(members, {}) == content


def test_shares_of_parametric_activations_return_bit_for_bit() -> None:
    members = [
        [
            replace(layer, mix=-2.0 * layer.bias) if depth < len(layers) - 1 else layer
            for depth, layer in enumerate(layers)
        ]
        for layers in make_members()
    ]
    content = encode_weights(members, {})
    again = decode_weights(content, forms(2, 1, is_parametric=True))
    assert_same_bits(members, again)
    assert again[0][0].mix is not None
    assert again[0][0].mix.tobytes() == (-2.0 * members[0][0].bias).tobytes()
    assert [again[0][1].mix, again[1][0].mix] == [None, None]
    with pytest.raises(ValueError, match="6 tensors are needed, but got 7"):
        decode_weights(content, forms(2, 1))
    with pytest.raises(ValueError, match="mix"):
        decode_weights(encode_weights(make_members(), {}), forms(2, 1, is_parametric=True))


def test_weights_that_are_views_return_bit_for_bit() -> None:
    base = make_layers((5, 4))[0].weight
    layer = LayerWeights(base.T, base[0, ::-1])
    assert not layer.weight.flags.c_contiguous
    assert not layer.bias.flags.c_contiguous
    assert_same_bits([[layer]], decode_weights(encode_weights([[layer]], {}), forms(1)))


def test_metadata_and_names_are_those_that_others_read(tmp_path: Any) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(encode_weights(make_members(), {"format": "selection-model"}))
    with safe_open(path, framework="np") as opened:
        assert opened.metadata() == {"format": "selection-model"}
        assert sorted(opened.keys()) == [
            "member_0.layer_0.bias",
            "member_0.layer_0.weight",
            "member_0.layer_1.bias",
            "member_0.layer_1.weight",
            "member_1.layer_0.bias",
            "member_1.layer_0.weight",
        ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no safetensors at all",
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[: len(content) // 4],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content.replace(b"F32", b"F99", 1),
    ],
    ids=["empty", "text", "cut", "longer", "header cut", "header length", "kind of number"],
)
def test_damaged_bytes_are_a_value_error(damage: Any) -> None:
    content = encode_weights(make_members(), {"format": "selection-model"})
    with pytest.raises(ValueError, match=r"."):
        decode_weights(damage(content), forms(2, 1))


@pytest.mark.parametrize("name", ["member_0.layer_1.weight", "member_1.layer_0.bias"])
def test_a_missing_tensor_is_named(name: str) -> None:
    tensors = load(encode_weights(make_members(), {}))
    del tensors[name]
    with pytest.raises(ValueError, match=name):
        decode_weights(save(tensors), forms(2, 1))


@pytest.mark.parametrize("depths", [(3, 1), (2, 2), (2, 1, 1)], ids=str)
def test_more_layers_than_the_file_has_are_a_value_error(depths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"member_\d\.layer_\d"):
        decode_weights(encode_weights(make_members(), {}), forms(*depths))


@pytest.mark.parametrize("depths", [(1, 1), (2, 0), (2,), ()], ids=str)
def test_fewer_layers_than_the_file_has_are_a_value_error(depths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_weights(encode_weights(make_members(), {}), forms(*depths))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_plain_torch_loads_the_file_and_gives_the_same_outputs(activation: Any) -> None:
    fitted = fit(make_setting(depth=2, activation=activation), make_unequal_folds())
    content = encode_weights([one.layers for one in fitted], {"format": "selection-model"})
    tensors = safetensors.torch.load(content)
    features = make_features(50, 7)
    for index, one in enumerate(fitted):
        stacked: list[nn.Module] = []
        for depth, (fan_in, fan_out) in enumerate([(7, 5), (5, 6), (6, 3)]):
            linear = nn.Linear(fan_in, fan_out)
            prefix = f"member_{index}.layer_{depth}"
            state = {name: tensors[f"{prefix}.{name}"] for name in ("weight", "bias")}
            linear.load_state_dict(state)
            stacked += [linear, reference.ACTIVATIONS[activation]()]
        with torch.no_grad():
            truth = nn.Sequential(*stacked[:-1])(torch.from_numpy(features)).numpy()
        np.testing.assert_allclose(
            predict(one.layers, activation, features), truth, rtol=1e-5, atol=1e-6
        )
