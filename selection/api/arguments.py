"""Checks what callers of a Study pass, before it costs anything."""

from __future__ import annotations

from operator import index
from typing import Any, get_args

from selection.errors import ErrorDetail, StudyStateError, nearest_name, show
from selection.study.fields import Rule


def trial_number(trial: int | None) -> int | None:
    """Return a trial's number, which may be NumPy's, as an int."""
    return None if trial is None else index(trial)


def plain_value(value: Any) -> Any:
    """Return a value of Python; NumPy's own are converted."""
    return value.tolist() if hasattr(value, "dtype") else value


def check_rule(rule: object) -> None:
    """Refuse a rule that is not known.

    Raises: StudyStateError.
    """
    rules = get_args(Rule)
    if rule is not None and rule not in rules:
        allowed = f"the rule must be one of {', '.join(rules)}"
        hint = nearest_name(str(rule), rules)
        raise StudyStateError(ErrorDetail("rule", allowed, show(rule), hint))


def checked_reason(reason: str, *, again: bool) -> str:
    """Return why the held-out set is opened again, in one line; nothing for the first time.

    Raises: StudyStateError.
    """
    reason = reason.strip()
    if again != bool(reason):
        got, hint = f"again={again}, reason={show(reason)}", 'Pass again=True and reason="...".'
        raise StudyStateError(ErrorDetail("evaluate", "again must come with a reason", got, hint))
    if not reason.isprintable():
        rule = "the reason must be one line of readable text"
        raise StudyStateError(ErrorDetail("evaluate", rule, show(reason), "Write one line."))
    return reason
