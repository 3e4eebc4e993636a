"""How good are our recipes on tables, beside what people use? Writes docs/tables.md and .csv.

Every method has the same rows and cores; a fifth of each table is held out three times. What has
been measured is kept in docs/tables.csv: a run that was interrupted goes on.
Run: make tables
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from benchmarks.machine import where_it_ran
from benchmarks.table_data import NAMES, Table, load_table
from benchmarks.table_methods import (
    METHODS,
    OURS,
    PLAIN_NAME,
    TUNED_BOOSTING,
    Task,
    run_method,
)

SPLITS = 3
HELD_OUT = 0.2
ORDER = (*METHODS, TUNED_BOOSTING)


def tasks_of(table: Table, splits: int) -> list[Task]:
    """Return the splits of a table."""
    kind = ShuffleSplit if table.task == "regression" else StratifiedShuffleSplit
    splitter = kind(splits, test_size=HELD_OUT, random_state=0)
    tasks = []
    for seed, (_, test) in enumerate(splitter.split(table.features, table.target)):
        held_out = np.zeros(len(table.features), dtype=np.bool_)
        held_out[test] = True
        tasks.append(Task(table, held_out, seed))
    return tasks


def measure(path: Path, names: Sequence[str], methods: Sequence[str], splits: int) -> pd.DataFrame:
    """Measure what is not in the file yet, one result after another."""
    found = pd.read_csv(path) if path.exists() else pd.DataFrame()
    for name in names:
        for task in tasks_of(load_table(name), splits):
            for method in methods:
                if _has(found, name, task.seed, method):
                    continue
                ours = _row(found, name, task.seed, OURS)
                if method == TUNED_BOOSTING and ours is None:
                    continue
                seconds = 0.0 if ours is None else float(ours["seconds"])
                result = run_method(method, task, seconds)
                row = {"table": name, "split": task.seed, "method": method, **vars(result)}
                found = pd.concat([found, pd.DataFrame([row])], ignore_index=True)
                found.to_csv(path, index=False, float_format="%.6g")
                print(
                    f"{name} {task.seed} {method}: {result.error:.4f}, {result.seconds:.1f} s",
                    flush=True,
                )
    return found


def _row(found: pd.DataFrame, table: str, split: int, method: str) -> pd.Series | None:
    if found.empty:
        return None
    same = found[(found.table == table) & (found.split == split) & (found.method == method)]
    return None if same.empty else same.iloc[0]


def _has(found: pd.DataFrame, table: str, split: int, method: str) -> bool:
    return _row(found, table, split, method) is not None


def summary(found: pd.DataFrame) -> list[str]:
    """Return a line of Markdown for each method, best mean rank first.

    Errors are compared on the splits that all methods have.
    """
    errors = found.pivot_table(index=["table", "split"], columns="method", values="error")
    errors = errors[[name for name in ORDER if name in errors]].dropna()
    seconds = found.pivot_table(index=["table", "split"], columns="method", values="seconds")
    by_table = errors.groupby("table").mean()
    ranks = by_table.rank(axis=1).mean().sort_values()
    relative = by_table.div(by_table[PLAIN_NAME], axis=0) - 1.0
    ratio = seconds.loc[errors.index].groupby("table").mean()
    lines = ["| method | mean rank | error against our plain recipe | seconds, median |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    for name in ranks.index:
        lines.append(
            f"| {name} | {ranks[name]:.2f} | {relative[name].mean():+.1%} "
            f"({relative[name].median():+.1%}) | {ratio[name].median():.1f} |"
        )
    return lines


def measured(found: pd.DataFrame) -> list[str]:
    """Return how much of the whole has been measured, where it is not all of it."""
    counts = found.groupby("method").size()
    whole = len(NAMES) * SPLITS
    open_ones = {name: int(counts.get(name, 0)) for name in ORDER if counts.get(name, 0) < whole}
    if not open_ones:
        return []
    return [
        f"Not all of it has been measured: of {whole} results each there are so far",
        "",
        *(f"- {name}: {count}" for name, count in open_ones.items()),
    ]


def errors_by_table(found: pd.DataFrame) -> list[str]:
    """Return the mean error of each method on each table, and its spread over splits."""
    names = [name for name in ORDER if name in set(found.method)]
    lines = [f"| table | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    for table, rows in found.groupby("table", sort=False):
        cells = []
        for name in names:
            own = rows[rows.method == name].error
            spread = f" ± {own.std():.4f}" if len(own) > 1 else ""
            cells.append(f"{own.mean():.4f}{spread}" if len(own) else "")
        lines.append(f"| {table} | {' | '.join(cells)} |")
    return lines


def coverage(found: pd.DataFrame) -> list[str]:
    """Return how often the two intervals hold the held-out score."""
    lines = [
        "| method | prediction interval | corrected interval | held out better than expected |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, rows in found.dropna(subset=["least"]).groupby("method", sort=False):
        cells = []
        for low, high in ((rows.least, rows.most), (rows.low, rows.high)):
            holds = (low <= rows.error) & (rows.error <= high)
            cells.append(f"{holds.sum()} of {len(holds)} ({holds.mean():.0%})")
        cells.append(str((rows.error < rows.least).sum()))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def page(found: pd.DataFrame) -> str:
    """Return docs/tables.md."""
    tables = [
        f"| {each.name} | {each.source} | {len(each.features):,} | {each.features.shape[1]} | "
        f"{len(each.categories)} | {each.metric} |"
        for each in map(load_table, NAMES)
    ]
    parts = [
        INTRO,
        *measured(found),
        "",
        *summary(found),
        "",
        "## Does the held-out score lie where it was expected?",
        "",
        COVERAGE,
        *coverage(found),
        "",
        "## Errors",
        "",
        "1 - accuracy, 1 - ROC AUC, or RMSE as a share of the target's standard deviation; mean",
        "and standard deviation over splits.",
        "",
        *errors_by_table(found),
        "",
        "## Tables",
        "",
        "| table | shipped by | rows | features | of them categories | metric |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        *tables,
        "",
        where_it_ran("selection-sweep", "torch", "scikit-learn", "pytabkit", "optuna"),
        "",
    ]
    return "\n".join(parts)


INTRO = """# Tables

How good is a study file of five lines? A fifth of each table is held out, three times; every method
has the same training rows and the same cores, and nothing was chosen on the held-out rows. Ours
searches the space of `recipe = "tabular"` with 5 folds, corrects the winner's score, and opens the
held-out rows once; with "ensemble" the same sweep is read by `[selection] rule = "ensemble"`.
"Plain" is what this project trained before it had recipes: AdamW at a constant rate, 40 epochs, the
last one. RealMLP is pytabkit's, with its tuned defaults and an ensemble of 5 folds. Boosting is
scikit-learn's; tuned, it searches with Optuna for as long as ours took. `make tables` measures it
again; [tables.csv](tables.csv) has every number.
"""


COVERAGE = """Of all splits, at 95%. The prediction interval is what `best` says of held-out rows
before they are opened; the interval of the corrected score is about all new rows, and held-out rows
have a spread of their own ([decision 38](decisions/0038-what-the-held-out-rows-will-show.md)).
"""


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--methods", nargs="+", default=list(ORDER), choices=ORDER)
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--results", type=Path, default=Path("docs/tables.csv"))
    parser.add_argument("--page", type=Path, help="where to write the page")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TABLES_FOLDER"] = folder
        found = measure(options.results, options.tables, options.methods, options.splits)
    if options.page:
        options.page.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
