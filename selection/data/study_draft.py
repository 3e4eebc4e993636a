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
    return "\n".join(
        [
            f"# Drafted for {shown_name(profile.path)}: {profile.rows} rows, "
            f"{profile.features} features. Change what you know better.",
            "# What is left out comes from the recipe; selection run FILE --explain shows it.",
            f"name = {_text(name)}",
            'recipe = "tabular"',
            "seed = 0",
            "",
            *_data(profile),
            *_folds(profile),
            "",
            "[search]",
            *_metric(profile),
            "trials = 24",
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
        lines.append(f"# Missing values, which are filled with the median: {gaps}")
    lines.append("# The share of rows that nobody sees before selection evaluate.")
    return [*lines, "held_out = 0.2"]


def _folds(profile: TableProfile) -> list[str]:
    """Return a number of folds that leaves each of them a row of every class, if that is fewer."""
    least = min(profile.class_counts.values(), default=profile.rows)
    folds = max(2, min(MOST_FOLDS, int(0.8 * least)))
    if folds == MOST_FOLDS:
        return []
    return ["", "[cv]", "# So that each fold has a row of every class.", f"folds = {folds}"]


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
