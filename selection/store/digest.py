"""Hashes the content of rows, by which changes are detected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

# What a hash is stored in, and what it cannot cover.
HASH = "row_hash"
# Columns that were added when rows had hashes already: where they are empty, no hash has them.
LATER = frozenset({"best_epoch"})


def row_hash(row: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a row's content, without the hash itself."""
    digest = sha256()
    for name in sorted(set(without_later(row)) - {HASH}):
        value = row[name]
        content = bytes(value) if isinstance(value, bytes | memoryview) else repr(value).encode()
        digest.update(f"{name}:{len(content)}:".encode() + content)
    return digest.hexdigest()


def json_hash(value: Any) -> str:
    """Return the SHA-256 of a value as JSON, whatever the order of its keys."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def without_later(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without the empty ones of the columns that were added later."""
    return {name: value for name, value in row.items() if name not in LATER or value is not None}


def known(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without its empty columns, so that a column added later changes no hash."""
    return {name: value for name, value in row.items() if value is not None}
