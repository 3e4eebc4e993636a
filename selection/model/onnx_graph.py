"""A final model as ONNX: preparation and MLP in one graph, from raw features to logits.

ALL of onnx. Inputs are "features", (N, D) float64 in the units of the study's table, NaN where a
value is missing, and one column "category_K", (N, 1), per categorical column: float64 where the
study's column was one of numbers, bool where it was one of truth values that are never missing,
else text, exactly as in the study's table; NaN or the empty text where a category is missing.
Outputs are "logits" and "probabilities", or "prediction", float64 in units of
the target, and "unknown_categories", (N, 1) int64: how many categories of a row no member knows.
Source: the ONNX operators, opset 19 (the first whose Equal takes text).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.data.cells import EXACT_WHOLE
from selection.data.labels import MISSING, rounding
from selection.errors import ErrorDetail, ExportError, install_command
from selection.model.estimator import AnyModel, ModelMember
from selection.model.onnx_scaling import ScalingNodes
from selection.study.activations import ACTIVATIONS, Formula
from selection.train.weights import WaveWeights

OPSET, IR_VERSION = 19, 9
METADATA = (
    "study",
    "trial",
    "trials",
    "feature_names",
    "categorical",
    "category_kinds",
    "class_names",
)


def encode_onnx(model: AnyModel) -> bytes:
    """Return a model as the bytes of an ONNX file.

    Raises: ExportError if onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        hint = f"Install it: {install_command('onnx')}."
        raise ExportError(
            ErrorDetail("--format onnx", "ONNX needs the package onnx", "none installed", hint)
        ) from None
    graph = _Graph(model, onnx)
    proto = onnx.helper.make_model(
        graph.build(),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="selection",
    )
    facts = {name: json.dumps(model.document[name]) for name in METADATA if name in model.document}
    onnx.helper.set_model_props(proto, facts)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


class _Graph:
    """Collect the nodes and constants of one graph."""

    def __init__(self, model: AnyModel, onnx: Any) -> None:
        self.model = model
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def build(self) -> Any:
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        document = self.model.document
        width = len(document["feature_names"])
        inputs = []
        if width:
            inputs.append(helper.make_tensor_value_info("features", kinds.DOUBLE, ["N", width]))
        for index, column in enumerate(document["categorical"]):
            kind = getattr(kinds, self._kind(column))
            doc = f"column {column}; known: {json.dumps(self.model.known_categories(column)[:20])}"
            name = f"category_{index}"
            inputs.append(helper.make_tensor_value_info(name, kind, ["N", 1], doc))
        classes = len(document["class_names"])
        names = self._classify() if classes else self._regress()
        kind = kinds.FLOAT if classes else kinds.DOUBLE
        outputs = [helper.make_tensor_value_info(name, kind, ["N", classes or 1]) for name in names]
        if document["categorical"]:
            self._count_unknown()
            outputs.append(
                helper.make_tensor_value_info("unknown_categories", kinds.INT64, ["N", 1])
            )
        return helper.make_graph(self.nodes, "selection", inputs, outputs, self.constants)

    def _classify(self) -> list[str]:
        logits = [self._member(member) for member in self.model.members]
        if len(logits) == 1:
            self._node("Identity", logits, "logits")
        else:
            wide = [self._cast(name, "DOUBLE") for name in logits]
            chances = [self._node("Softmax", [name], axis=1) for name in wide]
            mean = self._mean(chances)
            smallest = self._constant(np.array(np.finfo(np.float32).tiny, dtype=np.float64))
            log = self._node("Log", [self._node("Max", [mean, smallest])])
            self._cast(log, "FLOAT", "logits")
        self._node("Softmax", ["logits"], "probabilities", axis=1)
        return ["logits", "probabilities"]

    def _regress(self) -> list[str]:
        each = []
        for member in self.model.members:
            scale = self._constant(np.array([member.preparation.target_std]))
            shift = self._constant(np.array([member.preparation.target_mean]))
            wide = self._cast(self._member(member), "DOUBLE")
            each.append(self._node("Add", [self._node("Mul", [wide, scale]), shift]))
        self._mean(each, "prediction")
        return ["prediction"]

    def _mean(self, each: Sequence[str], output: str = "") -> str:
        """Add the mean over members, by their counts; onnxruntime has no Mean of float64."""
        counts = [member.count for member in self.model.members]
        counted = [
            self._node("Mul", [name, self._constant(np.array(count, dtype=np.float64))])
            if count > 1
            else name
            for name, count in zip(each, counts, strict=True)
        ]
        total = self._constant(np.array(sum(counts), dtype=np.float64))
        return self._node("Div", [self._node("Sum", counted), total], output)

    def _member(self, member: ModelMember) -> str:
        """Add one MLP behind its preparation and return the name of its outputs."""
        activation = ACTIVATIONS[member.activation or self.model.document["activation"]].onnx
        unit = self._prepare(member)
        if (waves := member.layers[0].waves) is not None:
            unit = self._with_waves(unit, waves)
        for depth, layer in enumerate(member.layers):
            weight, bias = self._constant(layer.weight), self._constant(layer.bias)
            unit = self._node("Gemm", [unit, weight, bias], transB=1)  # (N, H)
            if depth < len(member.layers) - 1:
                bent = self._apply(activation, unit)
                unit = bent if layer.mix is None else self._mix(unit, bent, layer.mix)
        return unit

    def _with_waves(self, unit: str, waves: WaveWeights) -> str:
        """Add the nodes of embedded numbers and return the name of a first layer's inputs.

        Shape: (N, D) -> (N, E).
        """
        numbers, axis = len(waves.frequency), self._integers(2)
        ends = [self._integers(0), self._integers(numbers), self._integers(1)]
        values = self._node("Unsqueeze", [self._node("Slice", [unit, *ends]), axis])  # (N, n, 1)
        turns = self._constant(np.float32(2.0 * math.pi) * waves.frequency)
        angles = self._node("Mul", [values, turns])  # (N, n, K)
        if waves.phase is not None:
            angles = self._node("Add", [angles, self._constant(waves.phase)])
        shown = [self._node("Cos", [angles])]
        if waves.phase is None:
            shown = [self._node("Concat", [*shown, self._node("Sin", [angles])], axis=2)]
        by_column = self._node("Transpose", shown, perm=[1, 0, 2])  # (n, N, 16)
        weights = waves.waves.reshape(numbers, -1, waves.waves.shape[1]).transpose(0, 2, 1)
        own = self._node("MatMul", [by_column, self._constant(weights)])  # (n, N, J)
        own = self._node("Transpose", [own], perm=[1, 0, 2])
        own = self._node("Reshape", [own, self._integers(-1, len(waves.wave_bias))])
        own = self._node("Add", [own, self._constant(waves.wave_bias)])
        kept = unit
        if waves.phase is None:
            ends = [self._integers(numbers), self._integers(2**31 - 1), self._integers(1)]
            kept = self._node("Slice", [unit, *ends])
        return self._node("Concat", [kept, own], axis=1)

    def _integers(self, *values: int) -> str:
        return self._constant(np.array(values, dtype=np.int64))

    def _mix(self, unit: str, bent: str, mix: NDArray[np.float32]) -> str:
        """Add the nodes of unit + mix * (bent - unit) and return the name of its outputs."""
        difference = self._node("Sub", [bent, unit])
        return self._node("Add", [unit, self._node("Mul", [self._constant(mix), difference])])

    def _apply(self, formula: Formula, unit: str) -> str:
        """Add the nodes of an activation and return the name of its outputs."""
        if isinstance(formula, str):
            return unit
        if isinstance(formula, float):
            return self._constant(np.float32(formula))
        operator, *inputs = formula
        return self._node(operator, [self._apply(each, unit) for each in inputs])

    def _prepare(self, member: ModelMember) -> str:
        preparation = member.preparation
        parts = []
        if preparation.scaling.width:
            unit = "features"
            if not np.isnan(preparation.fill).all():
                is_missing = self._node("IsNaN", [unit])
                fill = self._constant(preparation.fill[None])
                unit = self._node("Where", [is_missing, fill, unit])
            unit = ScalingNodes(self._node, self._constant).add(preparation.scaling, unit)
            parts.append(self._cast(unit, "FLOAT"))
            if preparation.indicators:
                places = self._constant(np.array(preparation.indicators, dtype=np.int64))
                shown = self._node("Gather", [is_missing, places], axis=1)  # (N, I)
                parts.append(self._cast(shown, "FLOAT"))
        for index, (name, values) in enumerate(preparation.categories.items()):
            parts.append(self._cast(self._equal(index, name, values), "FLOAT"))
        return parts[0] if len(parts) == 1 else self._node("Concat", parts, axis=1)

    def _kind(self, column: str) -> str:
        """Return the type of a categorical column's input.

        Whole numbers that float64 cannot tell apart are compared as text, and so are truth values
        that may be missing.
        """
        names = self.model.known_categories(column)
        match self.model.category_kind(column):
            case "boolean" if MISSING not in names:
                return "BOOL"
            case "number" if all(
                abs(_number(name)) < EXACT_WHOLE for name in names if name != MISSING
            ):
                return "DOUBLE"
        return "STRING"

    def _equal(self, index: int, column: str, names: Sequence[str]) -> str:
        """Return where each row holds each category. Shape: (N, number of names)."""
        known: NDArray[Any]
        match self._kind(column):
            case "BOOL":
                known = np.array([[name == "True" for name in names]], dtype=np.bool_)
            case "DOUBLE":
                kind = rounding([_number(name) for name in self.model.known_categories(column)])
                known = np.array([[_number(name) for name in names]], dtype=kind)
                unit = f"category_{index}"
                if kind is np.float32:
                    unit = self._cast(unit, "FLOAT")
                is_equal = self._node("Equal", [unit, self._constant(known)])
                if MISSING not in names:
                    return is_equal
                is_missing = self._node("IsNaN", [unit])
                is_missing = self._node("And", [is_missing, self._constant(np.isnan(known))])
                return self._node("Or", [is_equal, is_missing])
            case _:
                known = np.array([list(names)], dtype=object)
        return self._node("Equal", [f"category_{index}", self._constant(known)])

    def _count_unknown(self) -> None:
        counts = []
        axis = self._constant(np.array([1], dtype=np.int64))
        for index, column in enumerate(self.model.document["categorical"]):
            is_known = self._equal(index, column, self.model.known_categories(column))
            found = self._node("ReduceSum", [self._cast(is_known, "INT64"), axis], keepdims=1)
            is_unknown = self._node("Equal", [found, self._constant(np.array([[0]]))])
            counts.append(self._cast(is_unknown, "INT64"))
        total = counts[0]
        for count in counts[1:]:  # onnxruntime has no Sum of whole numbers
            total = self._node("Add", [total, count])
        self._node("Identity", [total], "unknown_categories")

    def _node(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _cast(self, name: str, kind: str, output: str = "") -> str:
        return self._node("Cast", [name], output, to=getattr(self.onnx.TensorProto, kind))

    def _constant(self, value: NDArray[Any] | np.generic) -> str:
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(value)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name


def _number(name: str) -> float:
    """Return the number that a category spells, NaN for the one of missing values."""
    return float(name) if name != MISSING else math.nan
