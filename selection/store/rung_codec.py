"""Encodes what a metric needs of the predictions at rungs in as few bytes as hold it exactly.

Each rung is a head (epoch, code, rows, columns; 0 columns for one value per row) and its values:
one bit for a hit, one to four bytes for a class or a rank, four or eight for anything else.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEAD = struct.Struct("<IcII")
_BITS = b"?"
_WHOLE = {b"B": "<u1", b"H": "<u2", b"I": "<u4"}
_REAL = {b"f": "<f4", b"d": "<f8"}


def encode_rungs(rungs: Mapping[int, NDArray[Any]]) -> bytes:
    """Return predictions by epoch as bytes. Shape: (N,) or (N, C) each."""
    return b"".join(_encode(epoch, values) for epoch, values in sorted(rungs.items()))


def decode_rungs(blob: bytes) -> dict[int, NDArray[Any]]:
    """Return the predictions of their bytes, by epoch: bool, uint32, float32 or float64."""
    rungs: dict[int, NDArray[Any]] = {}
    at = 0
    while at < len(blob):
        epoch, code, rows, columns = _HEAD.unpack_from(blob, at)
        at += _HEAD.size
        count = rows * max(columns, 1)
        values: NDArray[Any]
        if code == _BITS:
            size = -(-count // 8)
            packed = np.frombuffer(blob, np.uint8, size, at)
            values = np.unpackbits(packed, count=count).astype(np.bool_)
        else:
            kind = np.dtype((_WHOLE | _REAL)[code])
            size = count * kind.itemsize
            values = np.frombuffer(blob, kind, count, at)
            values = values.astype(np.uint32 if code in _WHOLE else kind.newbyteorder("="))
        rungs[epoch] = values.reshape(rows, columns) if columns else values
        at += size
    return rungs


def _encode(epoch: int, values: NDArray[Any]) -> bytes:
    columns = values.shape[1] if values.ndim == 2 else 0
    code, body = _body(values)
    return _HEAD.pack(epoch, code, len(values), columns) + body


def _body(values: NDArray[Any]) -> tuple[bytes, bytes]:
    if values.dtype == np.bool_:
        return _BITS, np.packbits(values).tobytes()
    if np.issubdtype(values.dtype, np.integer):
        most = int(values.max(initial=0))
        code = b"B" if most < 2**8 else b"H" if most < 2**16 else b"I"
        return code, np.ascontiguousarray(values, dtype=_WHOLE[code]).tobytes()
    code = b"d" if values.dtype == np.float64 else b"f"
    return code, np.ascontiguousarray(values, dtype=_REAL[code]).tobytes()
