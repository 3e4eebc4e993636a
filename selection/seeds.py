"""The one seed tree: every random number of a study is derived from the study's seed.

A seed is a pure function of (study seed, purpose, path). Paths hold repeat, fold, layer, epoch or
step, never a trial number: two trials with the same params are the same trial.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Purpose = Literal[
    "folds",
    "held_out",
    "rows",
    "weights",
    "order",
    "dropout",
    "sampler",
    "sobol",
    "untried",
    "grid",
    "bootstrap",
    "final",
    "subset",
    "audit",
    "baselines",
    "embedding",
]


def seed_for(study_seed: int, purpose: Purpose, *path: int) -> int:
    """Return the seed of one purpose at one path of the tree.

    Units: an integer in [0, 2**63).
    """
    text = "/".join([str(study_seed), purpose, *map(str, path)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed32_for(study_seed: int, purpose: Purpose, *path: int) -> int:
    """Return the seed for libraries that take 32 bits (scikit-learn, NumPy's RandomState).

    Units: an integer in [0, 2**32).
    """
    return seed_for(study_seed, purpose, *path) >> 31
