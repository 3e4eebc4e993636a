"""Reads and checks a study file, and turns params into settings.

Other packages know a study file only as a StudySpec. All errors of a file are raised at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selection.errors import (
    ErrorDetail,
    StudyFileError,
    errors_of,
    location_name,
    nearest_name,
    show,
)
from selection.metrics import METRICS, Task
from selection.study.activations import DEFAULT_ACTIVATION
from selection.study.fields import StudySections
from selection.study.hyperparameters import section_of, space_names
from selection.study.recipes import RecipeFacts, fill_in, fill_in_rows, usual_values
from selection.study.rules import rule_errors
from selection.study.schedules import DEFAULT_SCHEDULE
from selection.study.setting import ClassWeights, Kind, Setting
from selection.study.space import SearchSpace, most_of, nearest_inside
from selection.study.space_file import read_space, wrong_value
from selection.study.toml_text import read_toml, refuse_deep
from selection.study.trial import Params, Value


@dataclass(frozen=True)
class StudySpec:
    """Hold one checked study: its sections as written, its space, its default setting."""

    sections: StudySections
    space: SearchSpace
    constants: Params
    default: Params

    @property
    def name(self) -> str:
        return self.sections.name

    @property
    def seed(self) -> int:
        return self.sections.seed

    @property
    def metric(self) -> str:
        return self.sections.search.metric

    @property
    def task(self) -> Task:
        return METRICS[self.metric].task

    @property
    def is_minimised(self) -> bool:
        return METRICS[self.metric].is_minimised

    @property
    def budget(self) -> int:
        """The number of trials; a grid has at most one per point, and one for the default."""
        if self.sections.search.sampler != "grid":
            return self.sections.search.trials
        points = 1
        for dimension in self.space.values():
            points *= len(dimension.grid() or ())
        is_on_grid = nearest_inside(self.space, self.default) == dict(self.default)
        return min(self.sections.search.trials, points if is_on_grid else points + 1)

    def to_json(self) -> dict[str, Any]:
        """Return the study as JSON with its defaults, so that equal studies compare equal."""
        return self.sections.model_dump(mode="json")

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of to_json()."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def with_rows(self, facts: RecipeFacts) -> StudySpec:
        """Return the study with what its recipe says of these rows.

        Raises: StudyFileError where that breaks a rule of the study.
        """
        content = self.to_json()
        filled = fill_in_rows(content, facts)
        return self if filled == content else parse_study(filled, self.name)

    def setting(self, params: Params) -> Setting:
        """Return the setting that params and the constants of the file give.

        Fields without effect (momentum under adam, dropout without a hidden layer) get one fixed
        value, so that settings that give equal scores are equal.
        """
        values = _Values(self.sections, self.constants, params)
        widths, dropout = _layers(values)
        optimizer = values["optimizer"]
        momentum = values["momentum"] if optimizer == "sgd" else 0.0
        init = values["init"]
        kind = Kind(
            hidden_layers=len(widths),
            activation=values["activation"] if widths else DEFAULT_ACTIVATION,
            init=init,
            optimizer=optimizer,
            nesterov=bool(values["nesterov"] and momentum > 0),
            batch_size=values["batch_size"],
            epochs=values["epochs"],
            precision=values["precision"],
            input_scaling=values["input_scaling"],
            parametric_activation=bool(values["parametric_activation"] and widths),
            numeric_embedding=values["numeric_embedding"],
            category_embedding=values["category_embedding"],
        )
        setting = Setting(
            kind=kind,
            widths=widths,
            dropout=dropout,
            learning_rate=float(values["learning_rate"]),
            weight_decay=0.0 if optimizer == "adam" else float(values["weight_decay"]),
            l2=float(values["l2"]) if optimizer == "adam" else 0.0,
            momentum=float(momentum),
            init_std=float(values["std"]) if init == "normal" else 0.0,
            features=values["features"] or 0,
            clip_norm=float(values["clip_norm"]),
            schedule=values["schedule"],
            warmup=float(values["warmup"]),
            label_smoothing=float(values["label_smoothing"]),
            class_weights=_class_weights(values["class_weights"]),
            embedding_scale=(
                float(values["embedding_scale"]) if kind.numeric_embedding != "none" else 0.0
            ),
        )
        return replace(setting, **_betas(values), **_other_schedules(values, setting))


class _Values:
    """Look a hyperparameter up: params, then constants, then the sections of the file."""

    def __init__(self, sections: StudySections, constants: Params, params: Params) -> None:
        self._sections = sections
        self._layers = (params, constants)

    def __getitem__(self, name: str) -> Any:
        for layer in self._layers:
            if name in layer:
                return layer[name]
        if name == "learning_rate":
            return usual_learning_rate(self["optimizer"])
        return section_value(self._sections, name)


def _betas(values: _Values) -> dict[str, Any]:
    """Return the constants of Adam; SGD has none and keeps their defaults."""
    if values["optimizer"] == "sgd":
        return {}
    return {name: float(values[name]) for name in ("beta1", "beta2", "eps")}


def _other_schedules(values: _Values, setting: Setting) -> dict[str, Any]:
    """Return the schedules of dropout and penalty, where there is any to move."""
    has_dropout, has_penalty = any(setting.dropout), setting.penalty > 0
    return {
        "dropout_schedule": values["dropout_schedule"] if has_dropout else DEFAULT_SCHEDULE,
        "weight_decay_schedule": (
            values["weight_decay_schedule"] if has_penalty else DEFAULT_SCHEDULE
        ),
    }


def value_of(spec: StudySpec, params: Params, name: str) -> Any:
    """Return a hyperparameter of a trial, whether [space] searches it or the file fixes it.

    None for features where the trial uses all of them.
    """
    if name == "hidden_layers":
        return spec.setting(params).kind.hidden_layers
    return _Values(spec.sections, spec.constants, params)[name]


def section_value(sections: StudySections, name: str) -> Any:
    """Return the value of a hyperparameter that [space] does not mention."""
    for section in (sections.model, sections.training):
        if name in type(section).model_fields:
            return getattr(section, name)
    if name == "learning_rate":
        return usual_learning_rate(sections.training.optimizer)
    return section_of(name).model_fields[name].get_default()


def most_features(spec: StudySpec) -> int:
    """Return the largest number of features that a trial may use; 0 means all."""
    usual = spec.setting(spec.default).features
    if "features" in spec.space:
        return max(usual, int(most_of(spec.space["features"])))
    return usual


def usual_learning_rate(optimizer: str) -> float:
    """Return the default learning rate of an optimizer."""
    return 0.1 if optimizer == "sgd" else 0.001


def _class_weights(value: Any) -> ClassWeights:
    """Return the weights of classes as a setting holds them; equal tables are equal."""
    if not isinstance(value, Mapping):
        weights: ClassWeights = value
        return weights
    return tuple((name, float(value[name])) for name in sorted(value)) or "none"


def _layers(values: _Values) -> tuple[tuple[int, ...], tuple[float, ...]]:
    width, depth, dropout = values["width"], values["hidden_layers"], values["dropout"]
    if depth is None:
        depth = len(width) if isinstance(width, tuple) else 1
    widths = width if isinstance(width, tuple) else (width,) * depth
    rates = dropout if isinstance(dropout, tuple) else (dropout,) * depth
    return widths[:depth], tuple(float(rate) for rate in rates[:depth])


def read_study(path: Path) -> StudySpec:
    """Read and check a study file.

    Raises: StudyFileError with all errors of the file.
    """
    return parse_study(read_toml(path), str(path))


def parse_study(content: dict[str, Any], where: str) -> StudySpec:
    """Check the content of a study file, with what its recipe fills in before rows are read.

    Raises: StudyFileError with all errors.
    """
    refuse_deep(content, where)
    content = fill_in(content)
    errors: list[ErrorDetail] = []
    sections: StudySections | None = None
    try:
        sections = StudySections.model_validate(content)
    except ValidationError as error:
        errors += errors_of(error, StudySections, where, space_names())
    raw_space = content.get("space", {})
    space, constants, space_errors = read_space(
        raw_space if isinstance(raw_space, dict) else {}, where
    )
    errors += space_errors
    if sections is None:
        raise StudyFileError(*errors)
    default, default_errors = _read_default(sections, space, constants, where)
    errors += default_errors
    if not errors:
        errors += rule_errors(sections, space, constants, default, where)
    if errors:
        raise StudyFileError(*errors)
    return StudySpec(sections, space, constants, default)


def _read_default(
    sections: StudySections, space: SearchSpace, constants: Params, where: str
) -> tuple[dict[str, Value], list[ErrorDetail]]:
    """Return the params of trial 0: those given, and the nearest to the usual for the rest."""
    errors: list[ErrorDetail] = []
    given: dict[str, Value] = {}
    for name, value in sections.search.default.items():
        at = location_name(where, ("search", f"default.{name}"))
        if name not in space:
            hint = nearest_name(name, space) if space else "Remove it."
            errors.append(
                ErrorDetail(at, "default may only set what [space] searches", show(value), hint)
            )
        elif error := wrong_value(name, value, at):
            errors.append(error)
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    recipe = usual_values(sections.recipe)
    usual = {name: recipe.get(name, section_value(sections, name)) for name in space}
    if "hidden_layers" in space and usual["hidden_layers"] is None:
        usual["hidden_layers"] = 1
    if "features" in space and usual["features"] is None:
        usual["features"] = most_of(space["features"])
    if "learning_rate" in space:
        optimizer = given.get("optimizer") or constants.get("optimizer") or usual.get("optimizer")
        optimizer = str(optimizer or sections.training.optimizer)
        if "learning_rate" not in recipe or optimizer != recipe["optimizer"]:
            usual["learning_rate"] = usual_learning_rate(optimizer)
    default = {
        name: given.get(name, dimension.nearest(usual[name])) for name, dimension in space.items()
    }
    return default, errors
