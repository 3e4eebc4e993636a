"""A warm start: the best settings of another study, to be trained after the default.

They are read once, when the study begins, and recorded in its queue: what becomes of the other
study afterwards changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from selection.errors import ErrorDetail, StudyStateError, location_name, nearest_name, show
from selection.stats.selection_rules import rank
from selection.store.records import Records
from selection.study.asked import AskedSetting
from selection.study.space import Choices, Dimension, most_of
from selection.study.spec import StudySpec, value_of
from selection.study.trial import Params, Trial, Value

MOST_SETTINGS = 5


@dataclass(frozen=True)
class WarmStart:
    """Hold the settings of a warm start, the best first, and what weakens the answer by them."""

    settings: tuple[AskedSetting, ...] = ()
    warnings: tuple[str, ...] = ()


def warm_start(spec: StudySpec, records: Records, data_fingerprint: str) -> WarmStart:
    """Return the best settings of the study that the file names, as far as they fit the space.

    A number outside a range is moved to its nearest end. A setting is left out if a choice does not
    have its value, or if it repeats a better one or the default.

    Raises: StudyStateError if the other study is missing, or has no complete trial.
    """
    name = spec.sections.search.warm_start
    if name is None:
        return WarmStart()
    where = location_name(f"study {spec.name}", ("search", "warm_start"))
    other = records.find_study(name)
    if other is None:
        rule = "the database must contain the study whose settings are asked for first"
        known = [each.name for each in records.list_studies()]
        hint = nearest_name(name, known) if known else "Run that study first."
        raise StudyStateError(ErrorDetail(where, rule, show(name), hint))
    theirs = other.spec()
    ranked = rank(records.trials(other, with_curves=False), is_minimised=theirs.is_minimised)
    if not ranked:
        rule = "a warm start needs a complete trial"
        hint = "Run that study first, or leave warm_start out."
        raise StudyStateError(ErrorDetail(where, rule, f"none in study {name}", hint))
    settings = tuple(_fitting(spec, theirs, ranked))
    warnings = []
    if not settings:
        warnings.append(f"no setting of study {name} fits the search space: nothing is warm")
    elif other.data_fingerprint == data_fingerprint:
        warnings.append(
            f"the settings of study {name} were chosen on the same development rows: the "
            "corrected score does not count that choice"
        )
    return WarmStart(settings, tuple(warnings))


def _fitting(spec: StudySpec, theirs: StudySpec, ranked: list[Trial]) -> Iterator[AskedSetting]:
    """Yield the best settings that fit, each once."""
    seen = {spec.setting(spec.default)}
    left = min(MOST_SETTINGS, spec.budget - 1)
    for trial in ranked:
        params = _inside(spec, theirs, trial)
        if left < 1 or params is None:
            continue
        if (setting := spec.setting(params)) in seen:
            continue
        seen.add(setting)
        left -= 1
        is_moved = any(params[name] != value_of(theirs, trial.params, name) for name in params)
        moved = ", moved into the space" if is_moved else ""
        origin = f"warm start: trial {trial.number} of study {theirs.name}{moved}"
        yield AskedSetting(params, (), origin)


def _inside(spec: StudySpec, theirs: StudySpec, trial: Trial) -> Params | None:
    """Return the point of the space nearest to a trial of another study; None without one."""
    params: dict[str, Value] = {}
    for name, dimension in spec.space.items():
        value = value_of(theirs, trial.params, name)
        if value is None:
            value = most_of(dimension)
        if not _fits(dimension, value):
            return None
        params[name] = dimension.nearest(value)
    return params


def _fits(dimension: Dimension, value: Any) -> bool:
    if isinstance(dimension, Choices):
        return any(
            value == option and isinstance(value, bool) == isinstance(option, bool)
            for option in dimension.options
        )
    return isinstance(value, int | float) and not isinstance(value, bool)
