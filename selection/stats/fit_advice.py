"""What to do about an under- or overfit trial: moves, each held against what is on record.

A move that the record shows to be no better is never advised, and one that it shows to be better
comes first, with its value. Scores are observed means over folds: they advise, and prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ROWS = "rows"


@dataclass(frozen=True)
class Move:
    """Hold one thing to try: the words for it, and which hyperparameters go up or down for it.

    is_up is None where either way will do.
    """

    words: str
    names: tuple[str, ...]
    is_up: bool | None


@dataclass(frozen=True)
class Observation:
    """Hold the best score on record with one hyperparameter moved one way, and all else equal.

    For rows it is the score of the largest training set on record beside that of the next smaller
    one, own.
    """

    name: str
    is_up: bool
    value: float
    score: float
    own_value: float
    own_score: float
    is_better: bool


@dataclass(frozen=True)
class Evidence:
    """Hold what is on record about the neighbours of a trial.

    own has the numbers of its setting by name; what is missing there is not known.
    """

    own: Mapping[str, float] = field(default_factory=dict)
    observed: Sequence[Observation] = ()
    is_minimised: bool = False

    def is_worse(self, score: float, other: float) -> bool:
        """Say whether a score is worse than another one, in the direction of the metric."""
        return score > other if self.is_minimised else score < other

    def of(self, move: Move) -> list[Observation]:
        """Return what is on record of a move."""
        return [
            each
            for each in self.observed
            if each.name in move.names and move.is_up in (None, each.is_up)
        ]

    def allows(self, move: Move) -> bool:
        """Say whether there is anything to lower: no penalty is below 0."""
        known = [self.own[name] for name in move.names if name in self.own]
        return move.is_up is not False or not known or any(value > 0 for value in known)


SMALLER = Move("a smaller network", ("width", "hidden_layers"), is_up=False)
LARGER = Move("a larger network", ("width", "hidden_layers"), is_up=True)
MORE_DECAY = Move("more weight decay", ("weight_decay", "l2"), is_up=True)
LESS_DECAY = Move("less weight decay", ("weight_decay", "l2"), is_up=False)
MORE_DROPOUT = Move("more dropout", ("dropout",), is_up=True)
LESS_DROPOUT = Move("less dropout", ("dropout",), is_up=False)
MORE_EPOCHS = Move("more epochs", ("epochs",), is_up=True)
HIGHER_RATE = Move("a higher learning rate", ("learning_rate",), is_up=True)
ANOTHER_RATE = Move("another learning rate", ("learning_rate",), is_up=None)
MORE_ROWS = Move("more rows", (ROWS,), is_up=True)


def neighbours(
    name: str,
    own: tuple[float, float],
    others: Sequence[tuple[float, float]],
    *,
    is_minimised: bool,
) -> list[Observation]:
    """Return the best on either side of a value; own and others are pairs of value and score."""
    sign = -1.0 if is_minimised else 1.0
    value, score = own
    known = [pair for pair in others if math.isfinite(pair[1])]
    found = []
    for is_up in (False, True):
        side = [pair for pair in known if pair[0] != value and (pair[0] > value) == is_up]
        if side and math.isfinite(score):
            best = max(side, key=lambda pair: sign * pair[1])
            is_better = sign * best[1] > sign * score
            found.append(Observation(name, is_up, *best, value, score, is_better))
    return found


def row_trend(sizes: Sequence[tuple[float, float]], *, is_minimised: bool) -> list[Observation]:
    """Return what the right end of a sample-size curve says of more rows; sizes as in neighbours.

    Nothing with fewer than two sizes.
    """
    known = sorted(pair for pair in sizes if math.isfinite(pair[1]))
    if len(known) < 2:
        return []
    before, last = known[-2:]
    is_better = last[1] < before[1] if is_minimised else last[1] > before[1]
    return [Observation(ROWS, True, *last, *before, is_better)]


def advise(moves: Sequence[Move], evidence: Evidence) -> str:
    """Return which moves to try: those the record favours, then those it knows nothing of.

    Where it favours none of them, any other that it shows to be better comes first.
    """
    moves = [move for move in moves if evidence.allows(move)]
    favoured = [each for move in moves for each in evidence.of(move) if each.is_better]
    favoured = favoured or _better(evidence)
    unknown = [move for move in moves if not evidence.of(move)]
    refuted = [
        (move, seen)
        for move in moves
        if (seen := evidence.of(move)) and not any(each.is_better for each in seen)
    ]
    sentences = [_favour(_best(favoured, evidence))] if favoured else []
    if unknown:
        start = "Or try" if favoured else "Try"
        sentences.append(f"{start} {_either([move.words for move in unknown])}.")
    sentences += [_refute(move, _best(seen, evidence)) for move, seen in refuted]
    return " ".join(sentences)


def better_neighbour(evidence: Evidence) -> str:
    """Return a sentence on the best neighbour that is better, or nothing."""
    better = _better(evidence)
    return f" {_favour(_best(better, evidence))}" if better else ""


def _better(evidence: Evidence) -> list[Observation]:
    """Return the neighbours on record that are better, whichever way they lie."""
    return [each for each in evidence.observed if each.is_better and each.name != ROWS]


def _best(seen: Sequence[Observation], evidence: Evidence) -> Observation:
    """Return the observation with the largest gain."""
    sign = -1.0 if evidence.is_minimised else 1.0
    return max(seen, key=lambda each: sign * (each.score - each.own_score))


def _favour(seen: Observation) -> str:
    if seen.name == ROWS:
        return f"Add rows: the score still rises with them, {_by_rows(seen)}."
    return f"Set {seen.name} to {seen.value:g}: the record has {_scores(seen)}."


def _refute(move: Move, seen: Observation) -> str:
    if seen.name == ROWS:
        return f"Not {move.words}: the score no longer rises with them, {_by_rows(seen)}."
    side = "above" if seen.is_up else "below"
    return f"Not {move.words}: {seen.name} {side} {seen.own_value:g} has at best {_scores(seen)}."


def _scores(seen: Observation) -> str:
    return f"{seen.score:.4g} there against {seen.own_score:.4g} here (observed)"


def _by_rows(seen: Observation) -> str:
    return (
        f"{seen.own_score:.4g} at {seen.own_value:g} rows and {seen.score:.4g} at {seen.value:g} "
        "(observed)"
    )


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
