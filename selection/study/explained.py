"""Says where each value that trials depend on comes from: the file, its recipe, or the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from selection.study.recipes import fill_in
from selection.study.spec import StudySpec

Origin = Literal["file", "recipe", "rows", "default"]
# What trials and the answer depend on.
SECTIONS = (
    "data",
    "cv",
    "model",
    "training",
    "space",
    "search",
    "assessment",
    "selection",
    "final",
)
# What a run does when something fails.
OF_A_RUN = frozenset({("search", "max_retries"), ("search", "max_consecutive_failures")})


@dataclass(frozen=True)
class ExplainedValue:
    """Hold one value of a study and where it comes from.

    "recipe" is a value that the recipe has for every table, "rows" one that it makes of the rows,
    "default" one that neither the file nor the recipe names.
    """

    section: str
    key: str
    value: Any
    origin: Origin


def explain(given: Mapping[str, Any], read: StudySpec, final: StudySpec) -> list[ExplainedValue]:
    """Return what trials and the answer depend on.

    given is the content of the study file, read the study as it was read from that, final the
    study once its rows are known. Values that are absent (no list, no column), or whose place
    [space] takes, are left out.
    """
    filled, before, after = fill_in(given), read.to_json(), final.to_json()
    explained = []
    for section in SECTIONS:
        for key, value in after[section].items():
            is_replaced = section in ("model", "training") and key in after["space"]
            if is_replaced or value in (None, [], {}) or (section, key) in OF_A_RUN:
                continue
            origin: Origin = "default"
            if key in given.get(section, {}):
                origin = "file"
            elif value != before[section][key]:
                origin = "rows"
            elif key in filled.get(section, {}):
                origin = "recipe"
            explained.append(ExplainedValue(section, key, value, origin))
    return explained
