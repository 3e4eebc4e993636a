"""Drafts a study file for a table: the guesses of its profile, each with a comment to judge it by.

Only writes text; nothing is read or trained here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from selection.data.table_profile import TableProfile
from selection.data.table_source import make_format
from selection.errors import shown_name
from selection.metrics import METRICS, MeanOverClasses, metrics_of

MOST_FOLDS = 5
IMBALANCED = 0.7


def metric_for(profile: TableProfile) -> str:
    """Return a metric that fits the target, for unequal classes one that weighs them alike."""
    usual, *others = metrics_of(profile.task)
    largest = max(profile.class_counts.values(), default=0)
    if largest <= IMBALANCED * profile.rows:
        return usual
    return next(name for name in others if isinstance(METRICS[name].computation, MeanOverClasses))


def draft_study(name: str, profile: TableProfile) -> str:
    """Return a study file as text."""
    batch_size = 32 if profile.rows < 2_000 else 256
    epochs = 30 if profile.rows < 20_000 else 10
    return "\n".join(
        [
            f"# Drafted for {shown_name(profile.path)}: {profile.rows} rows, "
            f"{profile.features} features. Change what you know better.",
            f"name = {_text(name)}",
            "seed = 0",
            "",
            *_data(profile),
            "",
            "[cv]",
            f"folds = {_folds(profile)}",
            "",
            "[training]",
            'optimizer = "adamw"',
            f"batch_size = {batch_size}",
            f"epochs = {epochs}",
            "",
            "# A range, { choices = [...] }, or one value.",
            "[space]",
            "width = { low = 16, high = 256, log = true }",
            "dropout = { low = 0.0, high = 0.5 }",
            "weight_decay = { low = 1e-6, high = 0.1, log = true }",
            "learning_rate = { low = 1e-4, high = 0.03, log = true }",
            "",
            "[search]",
            *_metric(profile),
            "trials = 24",
            "cohort = 8",
            "",
        ]
    )


def _data(profile: TableProfile) -> list[str]:
    lines = ["[data]", "# Counts from the folder where selection is started."]
    lines += [f"path = {_text(profile.path)}", f"target = {_text(profile.target)}"]
    usual = make_format(Path(profile.path), {})
    if profile.form.delimiter != usual.delimiter:
        lines.append(f"delimiter = {_text(profile.form.delimiter)}")
    if profile.form.decimal != usual.decimal:
        lines.append(f"decimal = {_text(profile.form.decimal)}")
    if profile.categorical:
        lines.append(f"categorical = {_list(profile.categorical)}")
    if profile.left_out:
        lines.append("# Left out, because of their values:")
        lines += [f"#   {shown_name(name)}: {why}" for name, why in profile.left_out.items()]
        lines.append(f"drop = {_list(profile.left_out)}")
    lines.append("# Rows that belong together, such as those of one person, stay in one fold:")
    lines.append('# groups = "COLUMN"')
    if profile.missing:
        gaps = ", ".join(f"{shown_name(name)} ({count})" for name, count in profile.missing.items())
        lines += [f"# Missing values: {gaps}", 'impute = "median"']
    lines.append("# The share of rows that nobody sees before selection evaluate.")
    return [*lines, "held_out = 0.2", 'prepare = "standardize"']


def _folds(profile: TableProfile) -> int:
    """Return a number of folds that leaves each of them a row of every class."""
    least = min(profile.class_counts.values(), default=profile.rows)
    return max(2, min(MOST_FOLDS, int(0.8 * least)))


def _metric(profile: TableProfile) -> list[str]:
    metric = metric_for(profile)
    others = ", ".join(name for name in metrics_of(profile.task) if name != metric)
    lines = [f"# Or {others}. The metric decides the task.", f'metric = "{metric}"']
    if not profile.class_counts:
        return lines
    sizes = profile.class_counts.values()
    return [f"# {len(sizes)} classes of {min(sizes)} to {max(sizes)} rows.", *lines]


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, names))}]"


def _text(value: str) -> str:
    """Return a string as TOML: JSON's escapes are among its own."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
