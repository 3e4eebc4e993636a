"""The pruners of a study file, and one model of the options of each.

Options have Optuna's names; what a study file leaves out is left to Optuna.
Source: optuna.pruners, version 5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from selection.errors import ErrorDetail, nearest_name, show
from selection.study.section import Section


def _whole_from(lowest: int) -> Any:
    return Field(default=None, ge=lowest, description=f"a whole number from {lowest}")


class PrunerOptions(Section):
    """Hold the options of a pruner that has none."""


class HyperbandOptions(PrunerOptions):
    """Hold the options of Hyperband."""

    min_resource: int | None = _whole_from(1)
    reduction_factor: int | None = _whole_from(2)


class SuccessiveHalvingOptions(HyperbandOptions):
    """Hold the options of successive halving."""

    min_early_stopping_rate: int | None = _whole_from(0)
    finalists: int | None = _whole_from(0)


class MedianOptions(PrunerOptions):
    """Hold the options of the median rule."""

    n_startup_trials: int | None = _whole_from(0)
    n_warmup_steps: int | None = _whole_from(0)
    interval_steps: int | None = _whole_from(1)
    n_min_trials: int | None = _whole_from(1)


class PercentileOptions(MedianOptions):
    """Hold the options of the percentile rule."""

    percentile: float = Field(ge=0, le=100, description="a number from 0 to 100")


class PatientOptions(PrunerOptions):
    """Hold the options of the pruner that waits for an improvement."""

    patience: int = Field(ge=0, description="a whole number from 0")
    min_delta: float | None = Field(default=None, ge=0, description="a number from 0")


class ThresholdOptions(PrunerOptions):
    """Hold the options of fixed limits."""

    lower: float | None = Field(default=None, description="a number")
    upper: float | None = Field(default=None, description="a number")
    n_warmup_steps: int | None = _whole_from(0)
    interval_steps: int | None = _whole_from(1)

    @model_validator(mode="after")
    def _has_room(self) -> ThresholdOptions:
        lower, upper = self.lower, self.upper
        if lower is None and upper is None:
            hint = "Write pruner_options = { lower = ... }."
            raise _broken("threshold needs lower or upper", "neither", hint)
        if lower is not None and upper is not None and lower >= upper:
            got = f"lower = {lower}, upper = {upper}"
            raise _broken("lower must be below upper", got, "Swap them.")
        return self


OPTIONS: Mapping[str, type[PrunerOptions]] = MappingProxyType(
    {
        "successive_halving": SuccessiveHalvingOptions,
        "hyperband": HyperbandOptions,
        "median": MedianOptions,
        "percentile": PercentileOptions,
        "patient": PatientOptions,
        "threshold": ThresholdOptions,
        "none": PrunerOptions,
    }
)

if TYPE_CHECKING:
    PrunerName = str
else:
    PrunerName = Literal[tuple(OPTIONS)]


def option_errors(pruner: PrunerName, options: Mapping[str, Any], at: str) -> list[ErrorDetail]:
    """Return one error for each option of a pruner that is unknown, missing or wrong."""
    model = OPTIONS[pruner]
    try:
        model.model_validate(dict(options))
    except ValidationError as error:
        return [_detail(pruner, model, item, at) for item in error.errors()]
    return []


def _broken(rule: str, got: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("option_rule", "{rule}", {"rule": rule, "got": got, "hint": hint})


def _detail(pruner: str, model: type[PrunerOptions], item: Any, at: str) -> ErrorDetail:
    if item["type"] == "option_rule":
        return ErrorDetail(at, **item["ctx"])
    name = str(item["loc"][0])
    known = model.model_fields
    match item["type"]:
        case "extra_forbidden":
            hint = nearest_name(name, known) if known else "Remove it."
            return ErrorDetail(at, f"{pruner} must know the option", name, hint)
        case "missing":
            hint = f"Write pruner_options = {{ {name} = ... }}."
            return ErrorDetail(at, f"{pruner} needs {name}", "nothing", hint)
    rule = f"{name} must be {known[name].description}"
    return ErrorDetail(at, rule, show(item["input"]), "Fix this value.")
