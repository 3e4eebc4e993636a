"""How well each class was predicted, and how far predicted chances were off, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassScore:
    """Hold one line of the per-class table; a share that is not defined is None."""

    name: str
    rows: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Calibration:
    """Hold how far predicted chances are from what happened.

    Units: nll is the mean negative log likelihood in nats; brier the squared distance of the
    chances from the one-hot class, summed over classes (0 to 2); ece the gap between confidence
    and accuracy over 15 equally wide bins of confidence.
    """

    nll: float
    brier: float
    ece: float
