"""Every scaling as a graph of its own gives what NumPy gives, at the ends of float64 too."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from selection.data.scaling import Scaling, fit_scaling
from selection.model.onnx_scaling import ScalingNodes
from selection.study.fields import Prepare

NORMAL = np.random.default_rng(6).normal(size=2500)
COLUMNS = {
    "normal": NORMAL,
    "skewed": np.exp(3.0 * NORMAL),
    "whole": np.round(2.0 * NORMAL),
    "mostly one value": np.where(NORMAL > 1.0, NORMAL, 0.25),
    "two values": (NORMAL > 0.3).astype(np.float64),
    "constant": np.full(2500, 0.1),
    "zeros": np.zeros(2500),
    "tiny": NORMAL * 1e-300,
    "large": NORMAL * 1e99,
}
TABLE = np.column_stack(list(COLUMNS.values()))
NEW = np.vstack([TABLE[:300], 1.3 * TABLE[:300], TABLE[:3] * 1e6, TABLE[:3] - 1e-3])


def run(scaling: Scaling, values: NDArray[np.float64]) -> NDArray[np.float64]:
    nodes: list[Any] = []
    constants: list[Any] = []

    def node(kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"node_{len(nodes)}"
        nodes.append(onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(value: NDArray[Any]) -> str:
        name = f"constant_{len(constants)}"
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    node("Identity", [ScalingNodes(node, constant).add(scaling, "x")], "y")
    shape = ["N", values.shape[1]]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, shape) for name in "xy"
    ]
    graph = onnx.helper.make_graph(nodes, "scaling", ends[:1], ends[1:], constants)
    opsets = [onnx.helper.make_opsetid("", 19)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (scaled,) = session.run(None, {"x": values})
    return np.asarray(scaled)


@pytest.mark.parametrize("prepare", get_args(Prepare))
@pytest.mark.parametrize("rows", [1, 2, 40, 2500])
def test_a_graph_gives_what_numpy_gives(prepare: Prepare, rows: int) -> None:
    scaling = fit_scaling(TABLE[:rows], prepare)
    expected = scaling.apply(NEW)
    np.testing.assert_allclose(run(scaling, NEW), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("prepare", ["robust", "quantile"])
def test_each_column_alone_gives_what_numpy_gives(name: str, prepare: Prepare) -> None:
    values = COLUMNS[name][:, None]
    scaling = fit_scaling(values, prepare)
    far = np.array([[1e40], [-1e40], [1e250], [-1e250], [0.0]])
    for rows in (values, far, values[:0]):
        with np.errstate(over="ignore"):
            expected = scaling.apply(rows)
        np.testing.assert_allclose(run(scaling, rows), expected, rtol=1e-12, atol=1e-12)


def test_normal_scores_hold_to_the_last_digits_everywhere() -> None:
    levels = np.r_[np.linspace(0.0, 1.0, 20_001), np.geomspace(1e-8, 0.1, 2_000)][:, None]
    scaling = fit_scaling(np.linspace(0.0, 1.0, 31)[:, None], "quantile")  # a level is itself
    np.testing.assert_allclose(run(scaling, levels), scaling.apply(levels), rtol=1e-13, atol=1e-15)
