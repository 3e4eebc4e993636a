"""The final models of several trials as one model: the mean of what they say, by their counts.

The trials may differ in all but their task and their columns, activations included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selection.model.estimator import AnyModel, ModelMember
from selection.model.files import encode_model

# What encode_model adds to the facts of a model.
ADDED = ("format", "version", "members", "weights")


@dataclass(frozen=True, eq=False)
class Part:
    """Hold the final model of one trial, and how often the trial counts."""

    model: AnyModel
    count: int


def mix(parts: Sequence[Part]) -> tuple[dict[str, Any], bytes]:
    """Return the document and the weights of the mean of several models; the first one leads.

    All have as many members. "trials" in the document says how often each trial counts.
    """
    members = [member for part in parts for member in _members(part)]
    documents = [part.model.document for part in parts]
    facts = {name: value for name, value in documents[0].items() if name not in ADDED}
    facts["trials"] = {str(part.model.document["trial"]): part.count for part in parts}
    facts["training"] = _training(documents, [part.count for part in parts])
    return encode_model(facts, members)


def _members(part: Part) -> list[ModelMember]:
    activation = part.model.document["activation"]
    return [
        replace(member, activation=activation, count=part.count) for member in part.model.members
    ]


def _training(documents: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Return how the members were trained, member by member, in the order of the members."""
    parts = [document["training"] for document in documents]
    sizes = [len(document["members"]) for document in documents]
    merged: dict[str, Any] = {}
    for name in parts[0]:
        values = [part.get(name) for part in parts]
        if name == "updates_in_cross_validation":
            total = sum(count * value for count, value in zip(counts, values, strict=True))
            merged[name] = total / sum(counts)
        elif isinstance(values[0], list):
            merged[name] = [each for value in values for each in value]
        else:
            merged[name] = [
                value for value, size in zip(values, sizes, strict=True) for _ in range(size)
            ]
    return merged
