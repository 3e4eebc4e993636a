"""Recipes: what a study file leaves out is filled in by one of two named sets of values.

"book" is plain SGD, as in D2L chapter 4. "tabular" is what trains well on tables of numbers and
categories; a part of it follows from the rows and is filled in once they have been read. What the
file says is never changed, and the record keeps every value.
Source: Holzmueller, Grinsztajn and Steinwart (2024), "Better by Default", for "tabular".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from selection.metrics import DEFAULT_METRIC, METRICS, MeanOverClasses

RecipeName = Literal["book", "tabular"]
DEFAULT_RECIPE: RecipeName = "tabular"
# Epochs are such that this many updates are taken in a fold, but at least and at most so many.
UPDATES = 1_600
FEWEST_EPOCHS, MOST_EPOCHS = 20, 400
# What the default space searches where the file asks for SGD: the rates of AdamW are too low.
SGD_RATES: Mapping[str, Any] = {"low": 0.01, "high": 1.0, "log": True}


@dataclass(frozen=True)
class Recipe:
    """Hold the values of a recipe: by section, of what lives in [space] only, and a whole space."""

    sections: Mapping[str, Mapping[str, Any]]
    constants: Mapping[str, Any]
    space: Mapping[str, Any]


@dataclass(frozen=True)
class RecipeFacts:
    """Hold what a recipe has to know of the development rows.

    categorical are the columns that were read as categories.
    """

    rows: int
    folds: int
    is_image: bool
    categorical: tuple[str, ...] = ()


RECIPES: Mapping[RecipeName, Recipe] = MappingProxyType(
    {
        "book": Recipe(
            sections={
                "data": {"prepare": "standardize", "categorical": []},
                "training": {"batch_size": 256, "epochs": 10},
            },
            constants={},
            space={},
        ),
        "tabular": Recipe(
            sections={
                "data": {"impute": "median", "missing_indicators": True},
                "model": {
                    "hidden_layers": 2,
                    "activation": "silu",
                    "input_scaling": True,
                    "category_embedding": True,
                },
                "training": {
                    "optimizer": "adamw",
                    "beta2": 0.95,
                    "schedule": "coslog4",
                    "epoch": "best_mean",
                },
                "final": {"model": "refit_ensemble"},
            },
            constants={"width": 256, "dropout": 0.1, "weight_decay": 0.01, "learning_rate": 0.002},
            space={
                "hidden_layers": {"low": 1, "high": 3},
                "width": {"low": 64, "high": 512, "log": True},
                "dropout": {"low": 0.0, "high": 0.5},
                "learning_rate": {"low": 3e-4, "high": 2e-2, "log": True},
                "weight_decay": {"low": 1e-4, "high": 0.3, "log": True},
                "numeric_embedding": {"choices": ["none", "pbld"]},
                "label_smoothing": {"choices": [0.0, 0.1]},
            },
        ),
    }
)


def recipe_of(content: Mapping[str, Any]) -> RecipeName | None:
    """Return the recipe that a study file names, or the usual one; None if it names none of ours.

    One that was exported before there were recipes has every value of the one of then. The file's
    own check words the error.
    """
    usual = "book" if "provenance" in content else DEFAULT_RECIPE
    stated = content.get("recipe", usual)
    return next((name for name in RECIPES if name == stated), None)


def fill_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a study file with what its recipe says wherever it says nothing.

    What follows from the rows is left open. Malformed sections are left as they are.
    """
    filled = copy.deepcopy(dict(content))
    name = recipe_of(filled)
    if name is None:
        return filled
    filled.setdefault("recipe", name)
    recipe = RECIPES[name]
    if "space" not in filled and _is_searched(filled) and recipe.space:
        filled["space"] = _default_space(filled, recipe)
    space = filled.setdefault("space", {})
    if not isinstance(space, dict):
        return filled
    for section, values in recipe.sections.items():
        # A file without [data] has forgotten it.
        table = filled.get(section) if section == "data" else filled.setdefault(section, {})
        if isinstance(table, dict):
            missing = {key: value for key, value in values.items() if key not in space}
            _add(table, _fitting(missing, filled))
    _add(space, _fitting(recipe.constants, filled))
    return filled


def fill_in_rows(content: Mapping[str, Any], facts: RecipeFacts) -> dict[str, Any]:
    """Return the content of a study whose rows have been read, with nothing left open."""
    filled = copy.deepcopy(dict(content))
    space, data, training = filled["space"], filled["data"], filled["training"]
    if data.get("prepare") is None:
        data["prepare"] = "scale" if facts.is_image else "robust"
    if data.get("categorical") is None:
        data["categorical"] = list(facts.categorical) if data.get("path") else []
    rows = round(facts.rows * (1 - 1 / facts.folds))
    if training.get("batch_size") is None:
        training["batch_size"] = usual_batch_size(rows)
    if training.get("epochs") is None:
        batch = space.get("batch_size", training["batch_size"])
        training["epochs"] = usual_epochs(rows, _largest(batch))
    return filled


def usual_values(name: RecipeName) -> dict[str, Any]:
    """Return what a recipe gives a hyperparameter that nobody searches, by its name."""
    recipe = RECIPES[name]
    values = {**recipe.sections.get("model", {}), **recipe.sections.get("training", {})}
    return {**values, **recipe.constants}


def usual_batch_size(rows: int) -> int:
    """Return the batch size of the tabular recipe for this many training rows."""
    return next((size for most, size in _BATCH_SIZES if rows < most), 512)


def usual_epochs(rows: int, batch_size: int) -> int:
    """Return the epochs of the tabular recipe."""
    steps = -(-rows // batch_size)
    return min(max(-(-UPDATES // steps), FEWEST_EPOCHS), MOST_EPOCHS)


# Up to how many training rows.
_BATCH_SIZES = ((400, 16), (1_000, 32), (4_000, 64), (10_000, 128), (50_000, 256))


def _largest(entry: Any) -> int:
    """Return the largest value that a checked entry of [space] allows."""
    if not isinstance(entry, Mapping):
        return int(entry)
    return int(max(entry["choices"]) if "choices" in entry else entry["high"])


def _is_searched(content: Mapping[str, Any]) -> bool:
    """Say whether a study has more than one trial, and no grid, which no recipe can know."""
    search = content.get("search")
    if not isinstance(search, Mapping):
        return True
    trials = search.get("trials")
    return search.get("sampler") != "grid" and not (isinstance(trials, int) and trials <= 1)


def _default_space(content: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's space without what the file has fixed, or what it has no use for.

    Smoothed labels help to name the right class; they spoil chances and their order.
    """
    own: dict[str, Any] = {}
    for section in ("model", "training"):
        table = content.get(section)
        own |= table if isinstance(table, Mapping) else {}
    fixed = set(own)
    if own.get("hidden_layers") == 0:
        fixed |= {"width", "dropout"}
    if own.get("optimizer") == "adam":
        fixed.add("weight_decay")
    search = content.get("search")
    metric = search.get("metric", DEFAULT_METRIC) if isinstance(search, Mapping) else DEFAULT_METRIC
    if not _counts_classes(metric):
        fixed.add("label_smoothing")
    if "features" in fixed:
        fixed.add("numeric_embedding")
    if _stated_optimizer(content) == "adam":
        fixed.add("weight_decay")
    space = {name: entry for name, entry in recipe.space.items() if name not in fixed}
    if own.get("optimizer") == "sgd":
        space["learning_rate"] = SGD_RATES
    return copy.deepcopy(space)


def _stated_optimizer(content: Mapping[str, Any]) -> Any:
    training = content.get("training")
    return training.get("optimizer") if isinstance(training, Mapping) else None


def _counts_classes(metric: Any) -> bool:
    """Say whether a metric asks for the predicted class alone, not for its chance."""
    entry = METRICS.get(metric) if isinstance(metric, str) else None
    return entry is not None and (
        entry.counts_hits or isinstance(entry.computation, MeanOverClasses)
    )


def _fitting(values: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what does not go with the optimizer or the widths that the file names."""
    model, training, space = (content.get(name) for name in ("model", "training", "space"))
    own: dict[str, Any] = {}
    for table in (model, training, space):
        own |= table if isinstance(table, dict) else {}
    left_out: set[str] = set()
    if _has_lists(own.get("width")):
        left_out.add("hidden_layers")
    if own.get("optimizer") != "adamw":
        left_out.add("learning_rate")
    if own.get("optimizer") == "adam":
        left_out.add("weight_decay")
    if "features" in own:
        left_out.add("category_embedding")
    return {name: value for name, value in values.items() if name not in left_out}


def _has_lists(entry: Any) -> bool:
    """Say whether an entry of [space] gives a width for each layer, which sets their number."""
    choices = entry.get("choices") if isinstance(entry, dict) else None
    options = choices if isinstance(choices, list) else [entry]
    return any(isinstance(each, list | tuple) for each in options)


def _add(table: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        table.setdefault(key, copy.deepcopy(value))
