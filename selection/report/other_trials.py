"""Settings in the queue and trials of other programs as they are shown; they never rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selection.report.cells import count_of, show_number, show_value
from selection.report.values import trial_value
from selection.study.space import value_to_json
from selection.study.trial import Trial

if TYPE_CHECKING:
    from selection.store.other_trials import Enqueued, OtherTrial

FOREIGN = "foreign"


def trial_values(trials: Sequence[Trial], others: Sequence[OtherTrial]) -> list[dict[str, Any]]:
    """Return what `trials --json` prints: every trial by number, whoever began it."""
    values = [*map(trial_value, trials), *map(_other_value, others)]
    return sorted(values, key=lambda value: int(value["number"]))


def _other_value(other: OtherTrial) -> dict[str, Any]:
    """Return a trial of no cohort with the keys of trial_value; a foreign one has no value."""
    return {
        "number": other.number,
        "state": other.state.value if other.is_queued else FOREIGN,
        "reason": "" if other.is_queued else other_reason(other),
        "params": {name: _as_json(value) for name, value in other.params.items()},
        "value": None,
        "fold_scores": [],
        "train_scores": [],
        "epochs": 0,
        "best_epoch": None,
        "seconds": None,
        "origin": other.asked_for or FOREIGN,
    }


def _as_json(value: Any) -> Any:
    """Return what another program wrote as JSON, which has no number that is not finite."""
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def other_reason(other: OtherTrial) -> str:
    """Say what a trial of no cohort is."""
    if other.is_queued:
        return f"{other.asked_for}, waiting for its cohort"
    if other.reason:
        return f"refused: {_printable(other.reason)}"
    is_scored = other.value is not None and math.isfinite(other.value)
    value = f" with {show_number(other.value)}" if is_scored and other.value is not None else ""
    return f"{other.state.value}{value}, put in by another program"


def other_params(other: OtherTrial) -> str:
    """Return the setting of a trial of no cohort in one line."""
    return _setting(other.params)


def _setting(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{_printable(name)} = {_shown(value)}" for name, value in params.items())


def _shown(value: Any) -> str:
    return _printable(show_value(tuple(value) if isinstance(value, list) else value))


def _printable(text: str) -> str:
    """Return a text of another program without characters that would steer a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def enqueued_lines(study: str, done: Enqueued) -> list[str]:
    """Say which setting was asked for, and what becomes of it."""
    asked = {name: each for name, each in done.params.items() if name not in done.from_default}
    lines = [f"asked for in study {study}, as trial {done.number}: {_setting(asked)}"]
    if done.from_default:
        left_out = {name: done.params[name] for name in done.from_default}
        lines.append(f"from the default, because it was left out: {_setting(left_out)}")
    if done.budget_left > 0:
        lines.append("the next cohort trains it first; it counts into the budget of trials")
    else:
        lines.append(
            "the budget of trials is spent: it waits until the study is given more, as by "
            "selection run FILE --trials +1"
        )
    return lines


def enqueued_value(study: str, done: Enqueued) -> dict[str, Any]:
    """Return what `enqueue --json` prints."""
    return {
        "study": study,
        "number": done.number,
        "params": {name: value_to_json(value) for name, value in done.params.items()},
        "from_default": list(done.from_default),
        "budget_left": done.budget_left,
    }


def queue_lines(others: Sequence[OtherTrial], left: int) -> list[str]:
    """Say how many settings wait and how many trials are foreign; left is the rest of the budget.

    Nothing where there are neither.
    """
    queued = sum(each.is_queued for each in others)
    lines = []
    if queued:
        line = f"asked for and not yet trained: {count_of(queued, 'setting')}"
        lines.append(line if left > 0 else f"{line}; the budget of trials is spent")
    if foreign := len(others) - queued:
        lines.append(f"put in by other programs, and never ranked: {count_of(foreign, 'trial')}")
    return lines
