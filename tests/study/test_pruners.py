"""The options of each pruner: what each knows, needs and refuses, and how the errors read."""

from __future__ import annotations

import inspect
from typing import Any

import optuna
import pytest

from selection.study.pruners import OPTIONS, option_errors

# Options that Optuna does not have.
OURS = {"successive_halving": ["finalists"]}
VALID: list[tuple[str, dict[str, Any]]] = [
    ("none", {}),
    ("successive_halving", {}),
    ("successive_halving", {"min_resource": 1, "min_early_stopping_rate": 0}),
    ("successive_halving", {"finalists": 0}),
    ("hyperband", {"reduction_factor": 2}),
    ("median", {"n_startup_trials": 0, "interval_steps": 1}),
    ("percentile", {"percentile": 25}),
    ("percentile", {"percentile": 0.0, "n_min_trials": 1}),
    ("patient", {"patience": 3, "min_delta": 0.01}),
    ("threshold", {"lower": -1}),
    ("threshold", {"upper": 0.5, "n_warmup_steps": 4}),
]


@pytest.mark.parametrize(("pruner", "options"), VALID)
def test_valid_options_are_taken(pruner: str, options: dict[str, Any]) -> None:
    assert option_errors(pruner, options, "x") == []
    assert OPTIONS[pruner].model_validate(options).model_dump(exclude_unset=True) == options


@pytest.mark.parametrize(
    ("pruner", "options", "message"),
    [
        ("none", {"lower": 1}, "none must know the option, but got lower. Remove it."),
        (
            "median",
            {"n_warmup_step": 1},
            "median must know the option, but got n_warmup_step. Did you mean n_warmup_steps?",
        ),
        (
            "hyperband",
            {"min_early_stopping_rate": 1},
            "hyperband must know the option, but got min_early_stopping_rate. "
            "Known: min_resource, reduction_factor.",
        ),
        (
            "patient",
            {},
            "patient needs patience, but got nothing. Write pruner_options = { patience = ... }.",
        ),
        (
            "successive_halving",
            {"reduction_factor": 1},
            "reduction_factor must be a whole number from 2, but got 1. Fix this value.",
        ),
        (
            "successive_halving",
            {"min_resource": 2.0},
            "min_resource must be a whole number from 1, but got 2.0. Fix this value.",
        ),
        (
            "percentile",
            {"percentile": 101},
            "percentile must be a number from 0 to 100, but got 101. Fix this value.",
        ),
        (
            "patient",
            {"patience": 1, "min_delta": -0.1},
            "min_delta must be a number from 0, but got -0.1. Fix this value.",
        ),
        (
            "threshold",
            {"n_warmup_steps": 1},
            "threshold needs lower or upper, but got neither. "
            "Write pruner_options = { lower = ... }.",
        ),
        (
            "threshold",
            {"lower": 0.9, "upper": 0.2},
            "lower must be below upper, but got lower = 0.9, upper = 0.2. Swap them.",
        ),
    ],
)
def test_an_error_names_the_rule_and_the_fix(
    pruner: str, options: dict[str, Any], message: str
) -> None:
    (error,) = option_errors(pruner, options, "x.toml: [search] pruner_options")
    assert str(error) == f"x.toml: [search] pruner_options: {message}"


def test_all_errors_are_shown_at_once() -> None:
    errors = option_errors("percentile", {"patience": 1, "n_min_trials": 0}, "x")
    assert sorted(error.rule.split()[-1] for error in errors) == ["1", "option", "percentile"]


def test_optuna_knows_every_option() -> None:
    named: dict[str, type[optuna.pruners.BasePruner]] = {
        "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
        "median": optuna.pruners.MedianPruner,
        "percentile": optuna.pruners.PercentilePruner,
        "patient": optuna.pruners.PatientPruner,
        "threshold": optuna.pruners.ThresholdPruner,
        "none": optuna.pruners.NopPruner,
    }
    assert list(named) == list(OPTIONS)
    for name, model in OPTIONS.items():
        known = inspect.signature(named[name]).parameters
        assert set(model.model_fields) <= {*known, *OURS.get(name, ())}, name
