"""What a study knows of its rows without having them: counts, classes, folds and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class DataFacts:
    """Hold the facts of a study's data as they were when the study began.

    rows are development rows; inputs and outputs are those of every MLP of the study; class_counts
    has the development rows of each class in the order of the classes and is empty for a
    regression; folds identify each split; duplicate_rows have an exact copy in another fold.
    """

    rows: int
    held_out_rows: int
    features: int
    inputs: int
    outputs: int
    class_counts: Mapping[str, int]
    fold_kind: str
    folds: tuple[str, ...]
    duplicate_rows: int
    warnings: tuple[str, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what to_json returned; the earliest records have no inputs and outputs."""
        counts = dict(value["class_counts"])
        return cls(
            rows=value["rows"],
            held_out_rows=value["held_out_rows"],
            features=value["features"],
            inputs=value.get("inputs", value["features"]),
            outputs=value.get("outputs", len(counts) or 1),
            class_counts=counts,
            fold_kind=value["fold_kind"],
            folds=tuple(value["folds"]),
            duplicate_rows=value["duplicate_rows"],
            warnings=tuple(value["warnings"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the facts as the database keeps them."""
        value = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {"folds": list(self.folds), "warnings": list(self.warnings)}
        return {**value, "class_counts": dict(self.class_counts), **lists}
