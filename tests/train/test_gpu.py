"""What the engine promises on a GPU: the CPU's results, by graphs or without, whatever memory does.

Nothing here is skipped where there is a CUDA device, and everything where there is none.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selection.data.prepare import FoldData
from selection.study.activations import ACTIVATIONS
from selection.study.setting import Precision, Setting
from selection.study.trial import TrialResult, TrialState
from selection.train import batches, graph, pack
from selection.train.fit import Trainer
from selection.train.graph import StepGraph
from selection.train.lockstep import Decide
from selection.train.plan import PackPlan
from selection.train.refit import fit_members
from tests.train.examples import make_folds, make_setting, make_table_folds, task_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SEED = 3
CPU, GPU = torch.device("cpu"), torch.device("cuda")
SCHEDULE = {2: {0}, 4: {3}}  # who is pruned after which epoch
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.01},
    "nesterov": {"momentum": 0.8, "nesterov": True, "learning_rate": 0.01},
    # Adam divides a gradient by its own size: of a tiny one, rounding may turn the sign.
    "adam": {"optimizer": "adam", "l2": 0.1, "learning_rate": 0.001},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.2, "learning_rate": 0.001},
}
MOVING: Mapping[str, Any] = {
    "schedule": "coslog4",
    "warmup": 0.1,
    "weight_decay_schedule": "cosine",
    "dropout_schedule": "flat_cos",
}
# What a recipe may add to a network, alone and all at once.
PARTS: Mapping[str, Mapping[str, Any]] = {
    "label smoothing": {"label_smoothing": 0.1},
    "class weights": {"class_weights": "balanced"},
    "clipping": {"clip_norm": 0.1},
    "input scaling": {"input_scaling": True},
    "parametric activation": {"parametric_activation": True, "activation": "selu"},
    "pl": {"numeric_embedding": "pl", "embedding_scale": 0.5},
    "pbld": {"numeric_embedding": "pbld", "embedding_scale": 0.1},
    "category embedding": {"category_embedding": True},
}
EVERYTHING: Mapping[str, Any] = {
    **{name: value for part in PARTS.values() for name, value in part.items()},
    **MOVING,
}
MIB = 2**20


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    """Leave products as strict as they were."""
    yield
    torch.set_float32_matmul_precision("highest")


def train(
    settings: Sequence[Setting],
    device: torch.device = GPU,
    folds: Sequence[FoldData] | None = None,
    decide: Decide = lambda epoch, means: (),
    precision: Precision = "float32",
) -> list[TrialResult]:
    chosen = folds or make_folds()
    metric = "cross_entropy" if chosen[0].classes else "rmse"
    trainer = Trainer(chosen, task_of(chosen), metric, SEED, device, precision=precision)
    return trainer.train(settings, decide)


def points(result: TrialResult) -> NDArray[np.float64]:
    return np.stack([fold.curve.points for fold in result.folds])


def assert_close(
    ones: Sequence[TrialResult], others: Sequence[TrialResult], tolerance: float
) -> None:
    for one, other in zip(ones, others, strict=True):
        assert one.state is other.state, one.reason
        np.testing.assert_allclose(points(one), points(other), rtol=tolerance, atol=1e-6)
        for a, b in zip(one.folds, other.folds, strict=True):
            if b.outputs is not None:
                assert a.outputs is not None
                np.testing.assert_allclose(a.outputs, b.outputs, rtol=tolerance, atol=tolerance)


def assert_same_bits(ones: Sequence[TrialResult], others: Sequence[TrialResult]) -> None:
    for one, other in zip(ones, others, strict=True):
        assert one.state is other.state, one.reason
        np.testing.assert_array_equal(points(one), points(other))
        for a, b in zip(one.folds, other.folds, strict=True):
            np.testing.assert_array_equal(a.outputs, b.outputs)


def ragged(depth: int, **values: Any) -> list[Setting]:
    """Return settings of unlike widths and one batch size that leaves a rest of every fold."""
    kind = {"batch_size": 8, "dropout": 0.2, "epochs": 6, **values}
    return [make_setting(depth=depth, widths=[width] * depth, **kind) for width in (4, 9, 30)]


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StepGraph]]:
    """The graphs that are captured."""
    made: list[StepGraph] = []

    class Noted(StepGraph):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            made.append(self)

    monkeypatch.setattr(pack, "StepGraph", Noted)
    yield made
    made.clear()  # the class holds the list: the graphs would wait for the garbage collector


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_every_kind_trains_as_on_the_cpu(
    captured: list[StepGraph], depth: int, activation: str, optimizer: str
) -> None:
    settings = ragged(depth, activation=activation, **OPTIMIZERS[optimizer])
    assert_close(train(settings), train(settings, CPU), 1e-3)
    assert captured, "too few steps to capture a graph"


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("classes", [2, 0])
def test_every_kind_of_rows_trains_as_on_the_cpu(classes: int, is_shared: bool) -> None:
    folds = make_folds(classes=classes, is_shared=is_shared)
    settings = ragged(2, learning_rate=0.01)
    assert_close(train(settings, folds=folds), train(settings, CPU, folds), 1e-3)


@pytest.mark.parametrize("moving", [{}, MOVING, {**MOVING, "clip_norm": 0.5}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_graph_takes_the_steps_that_are_taken_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
    captured: list[StepGraph],
    optimizer: str,
    moving: dict[str, Any],
) -> None:
    settings = ragged(2, **moving, **OPTIMIZERS[optimizer])
    settings[0] = replace(settings[0], beta1=0.8, beta2=0.95, eps=1e-6)
    graphed = train(settings)
    assert captured
    count = len(captured)
    monkeypatch.setattr(pack, "has_graphs", lambda device: False)
    eager = train(settings)
    assert len(captured) == count
    # The very steps; where rows lie in memory may choose another product of the same numbers.
    assert_close(graphed, eager, 1e-5)
    assert_close(eager, train(settings, CPU), 1e-3)


def weighed_table(classes: int) -> list[FoldData]:
    """Return unequal folds of numbers, an indicator and categories, whose rows have weights."""
    weights = np.random.default_rng(0).uniform(0.2, 3.0, 103)
    names = tuple("abc"[:classes])
    return [replace(fold, weights=weights, class_names=names) for fold in make_table_folds(classes)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("part", [*PARTS, "everything"])
def test_every_part_of_a_recipe_trains_as_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, captured: list[StepGraph], part: str, optimizer: str
) -> None:
    options = {**PARTS.get(part, EVERYTHING), **OPTIMIZERS[optimizer], "learning_rate": 0.003}
    settings, folds = ragged(2, **options), weighed_table(3)

    def decide(epoch: int, _means: Mapping[int, float]) -> Collection[int]:
        return {1} if epoch == 2 else ()

    graphed = train(settings, folds=folds, decide=decide)
    assert captured
    assert_same_bits(graphed, train(settings, folds=folds, decide=decide))
    assert_close(graphed, train(settings, CPU, folds, decide), 1e-3)
    monkeypatch.setattr(pack, "has_graphs", lambda device: False)
    assert_close(graphed, train(settings, folds=folds, decide=decide), 1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_everything_at_once_trains_a_regression_as_on_the_cpu(optimizer: str) -> None:
    classes_only = ("label_smoothing", "class_weights")
    options = {name: value for name, value in EVERYTHING.items() if name not in classes_only}
    settings = ragged(2, **{**options, **OPTIMIZERS[optimizer], "learning_rate": 0.003})
    folds = weighed_table(0)
    assert_close(train(settings, folds=folds), train(settings, CPU, folds), 1e-3)


def test_the_best_epoch_and_its_predictions_are_those_of_the_cpu() -> None:
    """With a rate at which the mean goes up and down."""
    folds = make_folds()
    settings = ragged(1, epochs=30, learning_rate=0.2)
    ones, others = (
        Trainer(
            folds, "classification", "cross_entropy", SEED, device, epoch="best_mean", patience=12
        ).train(settings)
        for device in (GPU, CPU)
    )
    assert [result.best_epoch for result in ones] == [result.best_epoch for result in others]
    assert_close(ones, others, 1e-3)


def test_a_full_final_model_matches_the_cpu(captured: list[StepGraph]) -> None:
    (setting,) = ragged(2, **{**EVERYTHING, "learning_rate": 0.003})[1:2]
    fitted = [
        fit_members(setting, weighed_table(3), "classification", "accuracy", SEED, device)
        for device in (GPU, CPU)
    ]
    assert captured
    for one, other in zip(*fitted, strict=True):
        assert one.updates == other.updates
        assert one.layers[0].waves is not None
        for a, b in zip(one.layers, other.layers, strict=True):
            assert a.parts.keys() == b.parts.keys()
            for name, weights in a.parts.items():
                np.testing.assert_allclose(weights, b.parts[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_rerun_is_bitwise_equal(optimizer: str, precision: Precision) -> None:
    settings = ragged(2, precision=precision, **OPTIMIZERS[optimizer])
    first, second = (train(settings, precision=precision) for _ in range(2))
    assert_same_bits(first, second)


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 0.01), ("bfloat16", 0.02)])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_fewer_bits_stay_close(optimizer: str, precision: Precision, tolerance: float) -> None:
    values = {**OPTIMIZERS[optimizer], "weight_decay": 0.0}
    folds = make_folds(features=64)
    exact = train([make_setting(widths=[64], batch_size=8, **values)], folds=folds)
    setting = make_setting(widths=[64], batch_size=8, precision=precision, **values)
    rounded = train([setting], folds=folds, precision=precision)
    # Products this small may be made in full float32 where TF32 is only allowed.
    is_same = np.array_equal(points(exact[0]), points(rounded[0]))
    assert not is_same or precision == "tf32"
    np.testing.assert_allclose(
        points(rounded[0])[..., 0::2], points(exact[0])[..., 0::2], rtol=tolerance
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pruning_inside_a_graphed_pack_disturbs_nobody(
    captured: list[StepGraph], optimizer: str
) -> None:
    settings = ragged(2, epochs=9, **OPTIMIZERS[optimizer])

    def decide(epoch: int, _means: Mapping[int, float]) -> Collection[int]:
        return {1} if epoch == 2 else ()

    pruned = train(settings, decide=decide)
    assert [result.state for result in pruned] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.COMPLETE,
    ]
    assert points(pruned[1]).shape[1] == 2
    assert len(captured) == 4, "of steps and of scores until the trial ends, and after"
    assert_close(pruned, train(settings, CPU, decide=decide), 1e-3)


def test_packs_of_unlike_batches_replay_by_turns(captured: list[StepGraph]) -> None:
    """One pack's graph is dropped and captured anew while the other's lives on."""
    settings = [
        make_setting(widths=[width], batch_size=size, epochs=6)
        for size in (4, 8)
        for width in (9, 30)
    ]

    def decide(epoch: int, _means: Mapping[int, float]) -> Collection[int]:
        return SCHEDULE.get(epoch, ())

    results = train(settings, decide=decide)
    assert len(captured) == 6, "four of steps, two of scores while enough epochs are left"
    assert_close(results, train(settings, CPU, decide=decide), 1e-3)


def test_replay_never_overwrites_other_tensors(captured: list[StepGraph]) -> None:
    """A graph ends while another lives on; what is free then is taken by tensors that must stay.

    torch 2.12 to 2.14 free the workspace of all graphs of a stream when one of them ends.
    """
    settings = [
        make_setting(
            widths=[width], activation="tanh", learning_rate=0.01, batch_size=size, epochs=6
        )
        for size in (4, 8)
        for width in (300, 500)
    ]
    folds = make_folds(rows=2_000, features=200)
    held: list[torch.Tensor] = []

    def decide(epoch: int, _means: Mapping[int, float]) -> Collection[int]:
        for stream in (torch.cuda.current_stream(), graph._side()):
            with torch.cuda.stream(stream):
                held.extend(torch.ones(2**18, device=GPU) for _ in range(40))  # 1 MiB each
        torch.cuda.synchronize()
        return SCHEDULE.get(epoch, ())

    results = train(settings, folds=folds, decide=decide)
    assert len(captured) == 6
    assert all(bool((tensor == 1.0).all()) for tensor in held), "a replay wrote there"
    assert_close(
        results, train(settings, CPU, folds, decide=lambda e, _: SCHEDULE.get(e, ())), 1e-3
    )


def test_graph_memory_can_be_freed(captured: list[StepGraph]) -> None:
    def reserved() -> int:
        captured.clear()
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    folds = make_folds(rows=8_000)
    train([make_setting(widths=[4], batch_size=512)], folds=folds)
    before = reserved()
    # Six members of 5 MiB for each tensor of hidden units.
    train([make_setting(widths=[2500], batch_size=512) for _ in range(2)], folds=folds)
    assert captured
    assert torch.cuda.memory_reserved() - before > 64 * MIB
    assert reserved() - before <= 64 * MIB


def test_a_diverging_neighbour_is_dropped_from_a_graphed_pack() -> None:
    settings = [make_setting(widths=[9], batch_size=8, learning_rate=r) for r in (0.05, 1e30)]
    calm, broken = train(settings)
    assert broken.state is TrialState.FAILED
    assert broken.reason.startswith("diverged")
    assert_close([calm], train(settings[:1], CPU), 1e-3)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_layer_diagnostics_match_the_cpu(activation: str) -> None:
    (setting,) = ragged(2, activation=activation)[1:2]
    found = []
    for device in (GPU, CPU):
        folds = make_folds()
        watched = Trainer(folds, "classification", "cross_entropy", SEED, device, diagnostics=True)
        (result,) = watched.train([setting])
        found.append([fold.layers.points for fold in result.folds if fold.layers is not None])
    assert len(found[0]) == len(found[1]) == 3
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-6)


def test_final_model_weights_match_the_cpu(captured: list[StepGraph]) -> None:
    (setting,) = ragged(2)[1:2]
    fitted = [
        fit_members(setting, make_folds(), "classification", "accuracy", SEED, device)
        for device in (GPU, CPU)
    ]
    assert captured
    for one, other in zip(*fitted, strict=True):
        assert one.updates == other.updates
        for a, b in zip(one.layers, other.layers, strict=True):
            np.testing.assert_allclose(a.weight, b.weight, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(a.bias, b.bias, rtol=1e-3, atol=1e-5)


def test_results_do_not_depend_on_coded_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = [replace(fold, features=np.round(fold.features * 10) / 10) for fold in make_folds()]
    settings = ragged(2)
    trainer = Trainer(folds, "classification", "cross_entropy", SEED, GPU)
    assert trainer.rows.features.levels is not None, "these rows are coded"
    coded = trainer.train(settings)
    monkeypatch.setattr(batches, "in_bytes", lambda table: table)
    assert_same_bits(coded, train(settings, folds=folds))


# Hidden units take 4 * width * batch_size bytes per member, several times a step. With the large
# batch, all epochs together have too few steps for a graph; with the small one they have enough.
@pytest.mark.parametrize(
    ("batch_size", "width", "given"),
    [(8192, 1024, 1024 * MIB), (1024, 2048, 384 * MIB)],
    ids=["without a graph", "by graphs"],
)
def test_a_pack_that_runs_out_of_memory_is_halved_and_finishes(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, width: int, given: int
) -> None:
    folds = make_folds(rows=20_000)
    settings = [
        make_setting(widths=[width], batch_size=batch_size, learning_rate=rate)
        for rate in np.geomspace(0.01, 0.04, 8).tolist()
    ]
    calm = train(settings, folds=folds)
    halved: list[int] = []
    honest = PackPlan.halves

    def halves(self: PackPlan) -> tuple[PackPlan, PackPlan]:
        halved.append(self.members)
        return honest(self)

    monkeypatch.setattr(PackPlan, "halves", halves)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    allowed = torch.cuda.memory_reserved() + given
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
    try:
        squeezed = train(settings, folds=folds)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert halved[0] == 24
    assert [result.state for result in squeezed] == [TrialState.COMPLETE] * 8
    assert_close(squeezed, calm, 1e-3)
