"""A final model as files: a JSON document that says what its safetensors file means.

Made by final_models.py, kept in the record, written by export.py and read back by load_model.
Nothing in a model can be run; what does not fit together is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from selection.data.labels import LabelKind
from selection.data.prepare import preparation_from_json, preparation_to_json, with_scaling
from selection.errors import ErrorDetail, ExportError
from selection.model.estimator import AnyModel, ModelMember, make_model
from selection.study.activations import ActivationName
from selection.study.setting import NumericEmbedding
from selection.train.embeddings import OUTPUTS, WAVES, extra_inputs
from selection.train.weights import MemberForm, WaveWeights, decode_weights, encode_weights

FORMAT = "selection-model"
VERSION = 1
# Of a model whose members have counts or activations of their own: an earlier reader would not look
# for them.
ENSEMBLE_VERSION = 2
DOCUMENT_FILE, WEIGHTS_FILE = "model.json", "model.safetensors"
ANEW = "Export the study anew."


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Linear(_Part):
    kind: Literal["linear"]
    center: list[float]
    scale: list[float]


class _Robust(_Part):
    kind: Literal["robust"]
    center: list[float]
    scale: list[float | None]


class _Quantile(_Part):
    kind: Literal["quantile"]
    quantiles: list[list[float]]


class _Preparation(_Part):
    fill: list[float | None]
    scaling: _Linear | _Robust | _Quantile = Field(discriminator="kind")
    categories: dict[str, list[str]]
    target_mean: float
    target_std: float
    indicators: list[int] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _of_any_version(cls, value: Any) -> Any:
        return with_scaling(value) if isinstance(value, dict) else value

    def width(self) -> int:
        """Return the number of numeric columns.

        Raises: ValueError where the parts are of different ones.
        """
        match self.scaling:
            case _Quantile(quantiles=columns):
                widths = {len(columns)}
                counts = set(map(len, columns))
                if len(counts) > 1 or 0 in counts or any(sorted(each) != each for each in columns):
                    raise ValueError("quantiles that are not ascending, or not as many in a column")
            case _Linear(center=center, scale=scale) | _Robust(center=center, scale=scale):
                widths = {len(center), len(scale)}
        if widths != {len(self.fill)}:
            raise ValueError("a preparation of other columns")
        return len(self.fill)


class _Member(_Part):
    sizes: list[int] = Field(min_length=2)
    preparation: _Preparation
    activation: ActivationName | None = None
    parametric_activation: bool = False
    numeric_embedding: NumericEmbedding = "none"
    count: int = Field(default=1, ge=1)

    @property
    def form(self) -> MemberForm:
        layers = len(self.sizes) - 1
        return MemberForm(layers, self.parametric_activation, self.numeric_embedding)


class _Weights(_Part):
    sha256: str


class _Csv(_Part):
    """Say how the study's CSV file was written; None for what its study file left out."""

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: list[str] | None = None


class _Document(_Part):
    """Check the shape of a document, and that its parts speak of the same columns."""

    study: str
    activation: ActivationName
    feature_names: list[str]
    categorical: list[str]
    class_names: list[str]
    class_kind: LabelKind = "text"
    category_kinds: dict[str, LabelKind] = Field(default_factory=dict)
    impute: Literal["median"] | None = None
    csv: _Csv = Field(default_factory=_Csv)
    members: list[_Member] = Field(min_length=1)
    weights: _Weights

    def check(self) -> None:
        """Raises: ValueError."""
        outputs = len(self.class_names) or 1
        names = [*self.feature_names, *self.categorical]
        for what, each in (("columns", names), ("classes", self.class_names)):
            if len(set(each)) < len(each):
                raise ValueError(f"two {what} of one name")
        for member in self.members:
            own = member.preparation
            width = own.width()
            if width != len(self.feature_names) or list(own.categories) != self.categorical:
                raise ValueError("a preparation of other columns")
            if not set(own.indicators) <= set(range(width)):
                raise ValueError(f"indicators of the columns {own.indicators}")
            inputs = width + len(own.indicators) + sum(map(len, own.categories.values()))
            inputs += width * extra_inputs(member.numeric_embedding)
            if (member.sizes[0], member.sizes[-1]) != (inputs, outputs):
                raise ValueError(f"sizes {member.sizes} for {inputs} inputs, {outputs} outputs")


def encode_model(
    facts: Mapping[str, Any], members: Sequence[ModelMember]
) -> tuple[dict[str, Any], bytes]:
    """Return the document and the safetensors file of a model; facts are what else it says."""
    weights = encode_weights([member.layers for member in members], {"format": FORMAT})
    document = {
        "format": FORMAT,
        "version": ENSEMBLE_VERSION if any(map(_own_facts, members)) else VERSION,
        **facts,
        "members": [
            {
                "sizes": _sizes(member),
                "preparation": preparation_to_json(member.preparation),
                **_learned_facts(member),
                **_own_facts(member),
            }
            for member in members
        ],
        "weights": {"file": WEIGHTS_FILE, "sha256": sha256(weights).hexdigest()},
    }
    return document, weights


def decode_model(document: Mapping[str, Any], weights: bytes, where: str) -> AnyModel:
    """Return the model of a document and its weights.

    Raises: ExportError if they do not belong together or cannot be read.
    """
    written = (document.get("format"), document.get("version"))
    if written not in ((FORMAT, VERSION), (FORMAT, ENSEMBLE_VERSION)):
        rule = f"a model must be of format {FORMAT} {VERSION} or {ENSEMBLE_VERSION}"
        got, hint = " ".join(map(str, written)), "Read it with the selection that wrote it."
        raise ExportError(ErrorDetail(where, rule, got, hint))
    try:
        checked = _Document.model_validate(dict(document))
        checked.check()
        if sha256(weights).hexdigest() != checked.weights.sha256:
            raise ValueError(f"other bytes in {WEIGHTS_FILE} than the document says")
        layers = decode_weights(weights, [member.form for member in checked.members])
        members = [
            ModelMember(
                preparation_from_json(member["preparation"]),
                tuple(own),
                stated.activation,
                stated.count,
            )
            for member, stated, own in zip(
                document["members"], checked.members, layers, strict=True
            )
        ]
        for member, stated in zip(members, checked.members, strict=True):
            _check_shapes(member, stated.sizes)
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ExportError(ErrorDetail(where, "a model must be whole", got, ANEW)) from None
    except ValueError as error:
        got = " ".join(str(error).split())
        raise ExportError(ErrorDetail(where, "a model must be whole", got, ANEW)) from None
    return make_model(document, members)


def load_model(folder: str | Path) -> AnyModel:
    """Read a model that `selection export` wrote.

    Raises: ExportError if the folder holds no model, or a damaged one.

    Example:
        >>> import selection
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> study = selection.run({"search": {"trials": 1}}, X, y, progress=False)
        >>> study.export("exports").trial
        0
        >>> model = selection.load_model("exports")
        >>> model.predict(X[:1]).tolist() == study.model().predict(X[:1]).tolist()
        True
    """
    where = str(folder)
    try:
        document = json.loads(Path(folder, DOCUMENT_FILE).read_text(encoding="utf-8"))
        weights = Path(folder, WEIGHTS_FILE).read_bytes()
    except OSError as error:
        rule = f"the folder must hold {DOCUMENT_FILE} and {WEIGHTS_FILE}"
        hint = "Write it with selection export NAME --to DIR."
        raise ExportError(ErrorDetail(where, rule, error.strerror or "no access", hint)) from None
    except (ValueError, RecursionError) as error:
        got = " ".join(str(error).split())
        raise ExportError(ErrorDetail(where, f"{DOCUMENT_FILE} must be JSON", got, ANEW)) from None
    if not isinstance(document, dict):
        raise ExportError(ErrorDetail(where, "a model must be whole", "no JSON object", ANEW))
    return decode_model(document, weights, where)


def _learned_facts(member: ModelMember) -> dict[str, Any]:
    """Return which tensors a member has beside weights and biases; {} without any."""
    facts: dict[str, Any] = {}
    if any(layer.mix is not None for layer in member.layers):
        facts["parametric_activation"] = True
    if (waves := member.layers[0].waves) is not None:
        facts["numeric_embedding"] = "pl" if waves.phase is None else "pbld"
    return facts


def _own_facts(member: ModelMember) -> dict[str, Any]:
    """Return what a member has that other members of its model may not have."""
    if member.activation is None and member.count == 1:
        return {}
    return {"activation": member.activation, "count": member.count}


def _sizes(member: ModelMember) -> list[int]:
    first = member.layers[0].weight.shape[1]
    return [int(first), *(len(layer.bias) for layer in member.layers)]


def _check_shapes(member: ModelMember, sizes: Sequence[int]) -> None:
    for layer, fan_in, fan_out in zip(member.layers, sizes, sizes[1:], strict=False):
        if not all(np.isfinite(part).all() for part in layer.parts.values()):
            raise ValueError("weights that are not finite")
        parts = {"weight": layer.weight, "bias": layer.bias, "mix": layer.mix}
        shapes = {name: part.shape for name, part in parts.items() if part is not None}
        if shapes != {**dict.fromkeys(shapes, (fan_out,)), "weight": (fan_out, fan_in)}:
            got = " and ".join(map(str, shapes.values()))
            raise ValueError(f"weights of sizes {list(sizes)} are needed, but got {got}")
    if (waves := member.layers[0].waves) is not None:
        _check_waves(waves, member.preparation.scaling.width)


def _check_waves(waves: WaveWeights, numbers: int) -> None:
    count, outputs = (WAVES, OUTPUTS - 1) if waves.phase is not None else (WAVES // 2, OUTPUTS)
    wanted = {
        "frequency": (numbers, count),
        "phase": (numbers, count),
        "waves": (numbers * outputs, WAVES),
        "wave_bias": (numbers * outputs,),
    }
    for name, part in vars(waves).items():
        if part is not None and part.shape != wanted[name]:
            raise ValueError(f"{name} of shape {wanted[name]} is needed, but got {part.shape}")
