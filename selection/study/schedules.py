"""The schedules along which learning rate, weight decay and dropout may move: name and meaning.

train.schedules computes the same names. A new schedule is one entry in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

SCHEDULES: Mapping[str, str] = MappingProxyType(
    {
        "constant": "the same throughout",
        "cosine": "half a cosine from 1 to 0",
        "coslog4": "four cosine cycles from 0 to 1 and back, each twice as long as the last",
        "one_cycle": "a cosine from 0.04 to 1 over the first 30%, then one to 0.000004",
        "step": "1, after half of the training 0.1, and 0.01 in the last quarter",
        "flat_cos": "1 for half of the training, then half a cosine to 0",
    }
)
DEFAULT_SCHEDULE = "constant"

if TYPE_CHECKING:
    ScheduleName = str
else:
    ScheduleName = Literal[tuple(SCHEDULES)]
