"""What people train on a table: our recipes, RealMLP, boosted trees, a forest, a linear model.

Each is given the same training rows and scored on the same test rows, which it does not see. All
have the same cores.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import accuracy_score, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import selection
from benchmarks.table_data import Table

FOLDS = 5
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Result:
    """Hold what a method made of one split.

    error is 1 - accuracy, 1 - ROC AUC, or the RMSE as a share of the target's standard deviation.
    low and high are the corrected interval as errors, least and most where the error on the
    held-out rows was expected; seconds is the time to train and choose.
    """

    error: float
    seconds: float
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """Hold a table and one of its splits; held_out marks the test rows. Shape: (N,)."""

    table: Table
    held_out: NDArray[np.bool_]
    seed: int

    @property
    def training(self) -> tuple[pd.DataFrame, pd.Series[Any]]:
        return self.table.features[~self.held_out], self.table.target[~self.held_out]

    @property
    def test(self) -> tuple[pd.DataFrame, pd.Series[Any]]:
        return self.table.features[self.held_out], self.table.target[self.held_out]

    def error(self, model: Any) -> float:
        """Return the error of a fitted scikit-learn model on the test rows."""
        features, target = self.test
        match self.table.metric:
            case "accuracy":
                return 1.0 - float(accuracy_score(target, model.predict(features)))
            case "roc_auc":
                chances = model.predict_proba(features)[:, 1]
                return 1.0 - float(roc_auc_score(target == sorted(target.unique())[1], chances))
        return float(root_mean_squared_error(target, model.predict(features))) / self.unit

    def error_of(self, score: float) -> float:
        """Return the error that a score means."""
        return score / self.unit if self.table.task == "regression" else 1.0 - score

    @property
    def unit(self) -> float:
        return float(self.table.target.std())


def _ours(name: str, spec: Mapping[str, Any], trials: int, rule: str, task: Task) -> Result:
    """Sweep, choose by a rule, and open the held-out rows once.

    A sweep is kept until the benchmark ends, so that another rule finds it trained.
    """
    folder = Path(os.environ["TABLES_FOLDER"])
    swept = folder / f"{name}-{task.table.name}-{task.seed}-{trials}.db"
    content = {
        "name": "table",
        "seed": task.seed,
        **spec,
        "search": {"metric": task.table.metric, "trials": trials},
        # Others train no baselines either.
        "assessment": {"baselines": []},
    }
    if not swept.exists():
        begun = time.perf_counter()
        _study(content, swept, task)
        swept.with_suffix(".seconds").write_text(str(time.perf_counter() - begun))
    own = Path(shutil.copy(swept, folder / "own.db"))
    begun = time.perf_counter()
    held_out = _study({**content, "selection": {"rule": rule}}, own, task).evaluate()
    seconds = time.perf_counter() - begun + float(swept.with_suffix(".seconds").read_text())
    bounds: list[float | None] = []
    for interval in (held_out.corrected_interval, held_out.prediction_interval):
        bounds += [None, None] if interval is None else sorted(map(task.error_of, interval))
    return Result(task.error_of(held_out.score), seconds, *bounds)


def _study(content: Mapping[str, Any], path: Path, task: Task) -> selection.Study:
    return selection.run(
        content,
        task.table.features,
        task.table.target,
        held_out=task.held_out,
        storage=f"sqlite:///{path}",
        device="cpu",
        progress=False,
    )


PLAIN: Mapping[str, Any] = {
    # What this project trained before it had recipes: AdamW at a constant rate, the last epoch.
    "recipe": "book",
    "data": {"impute": "median"},
    "training": {"optimizer": "adamw", "epochs": 40, "batch_size": 64},
    "space": {
        "hidden_layers": {"low": 1, "high": 3},
        "width": {"low": 16, "high": 256, "log": True},
        "dropout": {"low": 0.0, "high": 0.5},
        "weight_decay": {"low": 1e-6, "high": 0.1, "log": True},
        "learning_rate": {"low": 1e-4, "high": 0.03, "log": True},
    },
}


def _fitted(make: Callable[[Task], Any], task: Task) -> Result:
    begun = time.perf_counter()
    model = make(task).fit(*task.training)
    seconds = time.perf_counter() - begun
    return Result(task.error(model), seconds)


def _realmlp(task: Task) -> Any:
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    kind = RealMLP_TD_Regressor if task.table.task == "regression" else RealMLP_TD_Classifier
    options: dict[str, Any] = {}
    if task.table.metric == "roc_auc":
        options = {"val_metric_name": "1-auc_ovr", "use_ls": False}
    model = kind(
        n_cv=FOLDS, device="cpu", n_threads=CORES, random_state=task.seed, verbosity=0, **options
    )
    numbers = [name for name in task.table.features if name not in task.table.categories]
    # It takes missing categories, but no missing numbers.
    impute = ColumnTransformer(
        [("n", SimpleImputer(strategy="median", add_indicator=True), numbers)],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    return make_pipeline(impute.set_output(transform="pandas"), model)


def _boosting(task: Task, **options: Any) -> Any:
    is_regression = task.table.task == "regression"
    kind = HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
    return kind(categorical_features="from_dtype", random_state=task.seed, **options)


def _tuned_boosting(seconds: float, task: Task) -> Result:
    """Search for as long as ours took; the best by cross-validation is refitted."""
    features, target = task.training
    splitter = KFold if task.table.task == "regression" else StratifiedKFold
    folds = splitter(FOLDS, shuffle=True, random_state=task.seed)
    scoring = {"rmse": "neg_root_mean_squared_error"}.get(task.table.metric, task.table.metric)

    def options_of(trial: optuna.Trial | optuna.trial.FrozenTrial) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 4, 128, log=True),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 2, 100, log=True),
            "l2_regularization": trial.suggest_float("l2_regularization", 1e-6, 10.0, log=True),
            "max_features": trial.suggest_float("max_features", 0.3, 1.0),
            "max_iter": trial.suggest_int("max_iter", 50, 600, log=True),
        }

    def objective(trial: optuna.Trial) -> float:
        model = _boosting(task, early_stopping=False, **options_of(trial))
        scores = cross_val_score(model, features, target, cv=folds, scoring=scoring)
        return float(np.mean(scores))

    begun = time.perf_counter()
    sampler = optuna.samplers.TPESampler(seed=task.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, timeout=seconds)
    best = options_of(study.best_trial)
    model = _boosting(task, early_stopping=False, **best).fit(features, target)
    return Result(task.error(model), time.perf_counter() - begun)


def _columns(task: Task, encoder: Any) -> ColumnTransformer:
    table = task.table
    numbers = [name for name in table.features if name not in table.categories]
    scaled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    return ColumnTransformer([("n", scaled, numbers), ("c", encoder, table.categories)])


def _forest(task: Task) -> Any:
    is_regression = task.table.task == "regression"
    kind = RandomForestRegressor if is_regression else RandomForestClassifier
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    return make_pipeline(_columns(task, encoder), kind(500, n_jobs=CORES, random_state=task.seed))


def _linear(task: Task) -> Any:
    columns = _columns(task, OneHotEncoder(handle_unknown="ignore"))
    if task.table.task == "regression":
        return make_pipeline(columns, RidgeCV(np.logspace(-3, 4, 15)))
    model = LogisticRegressionCV(
        Cs=8, cv=FOLDS, max_iter=2_000, l1_ratios=(0.0,), use_legacy_attributes=False
    )
    return make_pipeline(columns, model)


OURS, OURS_LONG, PLAIN_NAME = "ours, 24 trials", "ours, 60 trials", "ours, plain, 24 trials"
ENSEMBLE, ENSEMBLE_LONG = "ours, 24 trials, ensemble", "ours, 60 trials, ensemble"
TUNED_BOOSTING = "boosting, tuned as long as ours"
METHODS: Mapping[str, Callable[[Task], Result]] = {
    OURS: partial(_ours, "tabular", {}, 24, "best"),
    ENSEMBLE: partial(_ours, "tabular", {}, 24, "ensemble"),
    OURS_LONG: partial(_ours, "tabular", {}, 60, "best"),
    ENSEMBLE_LONG: partial(_ours, "tabular", {}, 60, "ensemble"),
    PLAIN_NAME: partial(_ours, "plain", PLAIN, 24, "best"),
    "RealMLP, defaults": partial(_fitted, _realmlp),
    "boosting, defaults": partial(_fitted, _boosting),
    "random forest": partial(_fitted, _forest),
    "linear": partial(_fitted, _linear),
}


def run_method(name: str, task: Task, seconds_of_ours: float) -> Result:
    """Train one method and score it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == TUNED_BOOSTING:
            return _tuned_boosting(seconds_of_ours, task)
        return METHODS[name](task)
