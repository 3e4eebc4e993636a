"""Pages from Jinja's templates, every value escaped, and the files that they need beside them.

What a page loads comes from here: nothing is ever fetched from another host.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from selection.report.cells import says_more, show_epochs, show_share, show_value
from selection.report.leaderboard import observed as observed_score
from selection.report.leaderboard import training as training_score
from selection.report.other_trials import other_params, other_reason
from selection.study.trial import Trial, Value

STATIC_FILES: Mapping[str, str] = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "plotly.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def render(template: str, **values: Any) -> str:
    """Return a page; a value that the template names and nobody gave is a mistake."""
    return _environment().get_template(template).render(**values)


@cache
def static_file(name: str) -> str:
    """Return the content of one of STATIC_FILES."""
    if name == "plotly.min.js":
        return str(get_plotlyjs())
    return (files("selection.report.html") / "static" / name).read_text(encoding="utf-8")


@cache
def static_version(name: str) -> str:
    """Return what changes with the content of a file, so that browsers may keep it."""
    return sha256(static_file(name).encode()).hexdigest()[:12]


def study_segment(name: str, uuid: str) -> str:
    """Return a study's name as one segment of a path; browsers resolve dots before they ask."""
    return uuid if name in (".", "..") else quote(name, safe="")


def json_in_html(value: Any) -> Markup:
    """Return JSON that is safe inside a script element, whatever its texts say."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


def inline(name: str) -> Markup:
    """Return a static file for a style or script element."""
    return Markup(static_file(name).replace("</script", "<\\/script"))


def score(value: float | None) -> str:
    """Return a score at reading precision."""
    return "" if value is None else f"{value:.4f}"


def duration(seconds: float) -> str:
    """Return a time in the units that people use."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def observed(trial: Trial) -> str:
    """Return the observed score of a trial."""
    return score(observed_score(trial))


def training(trial: Trial) -> str:
    """Return the mean training score of a trial."""
    return score(training_score(trial))


def defined_score(value: float) -> str:
    """Return a score of one fold, which may not be defined."""
    return score(value) if math.isfinite(value) else "n/a"


def param(value: Value) -> str:
    """Return a hyperparameter at reading precision."""
    return show_value(value)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("selection.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for each in (
        score,
        show_share,
        duration,
        observed,
        training,
        defined_score,
        param,
        says_more,
        show_epochs,
        other_params,
        other_reason,
        zip,
    ):
        environment.filters[each.__name__] = each
    for function in (json_in_html, inline, static_version, study_segment):
        environment.globals[function.__name__] = function
    return environment
