"""Reads what a run is given: a file, a dict or a StudySpec, with overrides, and maybe arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selection.errors import (
    ErrorDetail,
    StorageError,
    StudyFileError,
    StudyStateError,
    UnreachableError,
    show,
)
from selection.store.repository import open_repository
from selection.store.study_record import StudyRecord
from selection.study.changes import TRIALS
from selection.study.overrides import with_overrides
from selection.study.spec import StudySpec, parse_study, read_study
from selection.study.toml_text import read_toml

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_NAME = "study"
Source = str | os.PathLike[str] | Mapping[str, Any] | StudySpec


@dataclass(frozen=True)
class Overrides:
    """Say what takes the place of values of a study file.

    The keys of values are dotted, such as training.epochs. trials is the number of trials, or "+N"
    for N more than the study has on record. run has keys of [run]; None leaves one as it is.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    seed: int | None = None
    trials: int | str | None = None
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_key(self) -> dict[str, Any]:
        """Every override by its key, except "+N" trials, which need the record.

        Raises: StudyFileError if trials is neither a number nor "+N".
        """
        trials = None if self.more_trials else _count(self.trials)
        own = {"name": self.name, "seed": self.seed, TRIALS: trials}
        own |= {f"run.{key}": value for key, value in self.run.items()}
        return {**self.values, **{key: value for key, value in own.items() if value is not None}}

    @property
    def more_trials(self) -> int:
        """The number of trials to add to those on record; 0 where trials says how many in all.

        Raises: StudyFileError.
        """
        text = self.trials
        return _count(text[1:]) or 0 if isinstance(text, str) and text.startswith("+") else 0


def _count(trials: int | str | None) -> int | None:
    if not isinstance(trials, str):
        return trials
    if not (trials.isascii() and trials.isdigit() and int(trials)):
        rule = "must be a whole number from 1, or +N for N more than the study has"
        raise StudyFileError(ErrorDetail("trials", rule, show(trials), "Say 48, or +24."))
    return int(trials)


def read_spec(spec: Source, overrides: Overrides) -> StudySpec:
    """Return a checked study, with its overrides except "+N" trials.

    Raises: StudyFileError with all errors of the study.
    """
    changed = overrides.by_key
    if not changed and not isinstance(spec, Mapping):
        return spec if isinstance(spec, StudySpec) else read_study(Path(spec))
    if isinstance(spec, StudySpec) and changed.get("recipe", spec.sections.recipe) != (
        spec.sections.recipe
    ):
        rule = "a StudySpec has every value of its recipe"
        hint = "Override the file or the dict that it was read from."
        raise StudyFileError(ErrorDetail("recipe", rule, show(changed["recipe"]), hint))
    where = f"{_where(spec)} (with overrides)" if changed else _where(spec)
    return parse_study(with_overrides(_content(spec), changed, where), where)


def read_arrays(
    spec: Source,
    overrides: Overrides,
    X: Any,
    y: Any,
    groups: Any,
    held_out: Any,
    sample_weight: Any = None,
) -> tuple[StudySpec, pd.DataFrame]:
    """Return a checked study of arrays, and the table of its arrays.

    Raises: StudyFileError with all errors of the study; DataError if the arrays do not fit.
    """
    from selection.data.arrays import table_from_arrays

    check_target(y)
    content = with_overrides(_without_rows(spec), overrides.by_key, _where(spec))
    frame, section = table_from_arrays(
        X, y, groups, held_out, content.get("data"), _time_of(content), sample_weight
    )
    content = {"name": DEFAULT_NAME, **content, "data": section}
    return parse_study(content, str(content["name"])), frame


def read_content(spec: Source, overrides: Overrides) -> dict[str, Any]:
    """Return the content of a study as it was given, with its overrides, unchecked.

    Raises: StudyFileError if it cannot be read.
    """
    return with_overrides(_content(spec), overrides.by_key, _where(spec))


def _time_of(content: Mapping[str, Any]) -> str | None:
    section = content.get("cv")
    time = section.get("time") if isinstance(section, Mapping) else None
    return time if isinstance(time, str) else None


def is_named(spec: Source, overrides: Overrides) -> bool:
    """Say whether a study has a name of its own, and so may stay on record."""
    return not isinstance(spec, Mapping) or "name" in spec or "name" in overrides.by_key


def with_trials_on_record(
    spec: StudySpec, overrides: Overrides, url: str, say: Callable[[str], None]
) -> StudySpec:
    """Return the study with the trials that its record adds to what its file says.

    "+N" trials are N more than the record has. A study that was extended keeps its trials where
    only the file, which says fewer, is run again; say is told.

    Raises: StudyStateError if more trials are added to a study that has not begun;
    UnreachableError.
    """
    more = overrides.more_trials
    study = None if TRIALS in overrides.by_key else _on_record(spec.name, url)
    if study is None:
        if more:
            rule = "more trials are added to a study that has begun"
            got, hint = "none of this name", f"Say how many in all: {more}."
            raise StudyStateError(ErrorDetail(f"study {spec.name}", rule, got, hint))
        return spec
    kept, stated = study.spec().sections.search.trials, spec.sections.search.trials
    is_extended = any(change.difference.key == TRIALS for change in study.changes)
    if more:
        return _with_trials(spec, kept + more)
    if is_extended and stated < kept:
        say(f"study {spec.name}: {kept} trials, as on record; its file says {stated}")
        return _with_trials(spec, kept)
    return spec


def _with_trials(spec: StudySpec, trials: int) -> StudySpec:
    return parse_study(with_overrides(spec.to_json(), {TRIALS: trials}, spec.name), spec.name)


def refuse_without_rows(**given: Any) -> None:
    """Refuse arguments that only arrays have.

    Raises: StudyFileError.
    """
    named = [name for name, value in given.items() if value is not None]
    if named:
        hint = "Pass X and y, or write them in [data] of the study."
        rule = "these arguments must come with arrays"
        raise StudyFileError(ErrorDetail(", ".join(named), rule, "no X", hint))


def check_target(y: Any) -> None:
    """Refuse arrays without a target.

    Raises: StudyFileError.
    """
    if y is None:
        raise StudyFileError(ErrorDetail("y", "arrays need a target", "none", "Pass X and y."))


def _on_record(name: str, url: str) -> StudyRecord | None:
    """Return a study by name; None without one, or without a database that could have one."""
    try:
        with open_repository(url) as repository:
            return repository.records.find_study(name)
    except UnreachableError:
        raise
    except StorageError:
        return None


def _where(spec: Source) -> str:
    if isinstance(spec, StudySpec):
        return spec.name
    if isinstance(spec, Mapping):
        return str(spec.get("name", DEFAULT_NAME))
    return str(Path(spec))


def _content(spec: Source) -> dict[str, Any]:
    if isinstance(spec, StudySpec):
        return spec.to_json()
    return dict(spec) if isinstance(spec, Mapping) else read_toml(Path(spec))


def _without_rows(spec: Source) -> dict[str, Any]:
    """Return the content of a study, without where its rows come from."""
    if isinstance(spec, Mapping):
        return dict(spec)
    content = read_spec(spec, Overrides()).to_json()
    names = ("prepare", "impute", "missing_indicators", "drop", "categorical")
    content["data"] = {name: content["data"][name] for name in names}
    return content
