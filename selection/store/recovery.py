"""A trained cohort that an SQLite database did not take, in a file beside it.

The next run of its study records it instead of training it again. The members are encoded as in
the database, each with its hash.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

from selection.store.address import Address
from selection.store.codec import FoldRow, decode_fold, encode_fold
from selection.store.study_record import StudyRecord
from selection.study.space import value_from_json, value_to_json
from selection.study.trial import Params, TrialResult, TrialState

VERSION = 1
BYTES = ("curve", "outputs", "layers", "rungs")


class RecoveryFiles:
    """Keep and give back the trained cohorts of one study; on a server there are none."""

    def __init__(self, address: Address, study: StudyRecord) -> None:
        # By whatever name the database is known.
        self._database = None if address.path is None else address.path.resolve()
        self._study = study

    def keep(
        self, cohort: int, params: Mapping[int, Params], results: Mapping[int, TrialResult]
    ) -> Path | None:
        """Write a cohort down and return its file; None if that is not possible."""
        path = self._path(cohort)
        if path is None:
            return None
        trials = [_to_json(number, params[number], results[number]) for number in results]
        text = json.dumps({"version": VERSION, "study": self._study.uuid, "trials": trials})
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            return None
        return path

    def take(self, cohort: int, params: Mapping[int, Params]) -> dict[int, TrialResult] | None:
        """Return the results of a cohort, if these settings of it were kept and are undamaged."""
        path = self._path(cohort)
        if path is None or not path.exists():
            return None
        try:
            content = json.loads(path.read_text())
            if (content["version"], content["study"]) != (VERSION, self._study.uuid):
                return None
            kept = {trial["number"]: trial for trial in content["trials"]}
            if {number: _params(trial) for number, trial in kept.items()} != dict(params):
                return None
            return {number: _result(trial) for number, trial in kept.items()}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self, cohort: int | None = None) -> None:
        """Remove the file of a cohort, or those of all cohorts of the study."""
        if self._database is None:
            return
        every = f"{escape(self._start)}*.json"
        found = self._database.parent.glob(every) if cohort is None else [self._path(cohort)]
        for path in filter(None, found):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, cohort: int) -> Path | None:
        if self._database is None:
            return None
        return self._database.with_name(f"{self._start}{cohort}.json")

    @property
    def _start(self) -> str:
        """What the names of all files of the study begin with."""
        assert self._database is not None, "a server has no files beside it"
        return f"{self._database.name}.{self._study.uuid}.cohort-"


def _to_json(number: int, params: Params, result: TrialResult) -> dict[str, Any]:
    rows = [encode_fold("", 0, fold) for fold in result.folds]
    return {
        "number": number,
        "params": {name: value_to_json(value) for name, value in params.items()},
        "state": result.state.value,
        "reason": result.reason,
        "epochs": result.epochs,
        "seconds": result.seconds,
        "best_epoch": result.best_epoch,
        "folds": [_row_to_json(row) for row in rows],
    }


def _row_to_json(row: FoldRow) -> dict[str, Any]:
    values = dict(vars(row))
    for name in BYTES:
        if values[name] is not None:
            values[name] = b64encode(values[name]).decode()
    return {**values, "row_hash": row.row_hash}


def _params(trial: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value_from_json(value) for name, value in trial["params"].items()}


def _result(trial: Mapping[str, Any]) -> TrialResult:
    """Return a result.

    Raises: ValueError if a member is damaged.
    """
    folds = [_row(values) for values in trial["folds"]]
    best = trial.get("best_epoch")  # not in a file of an earlier version
    return TrialResult(
        state=TrialState(trial["state"]),
        reason=trial["reason"],
        folds=tuple(decode_fold(row, outputs=True, best_epoch=best) for row in folds),
        epochs=trial["epochs"],
        seconds=trial["seconds"],
    )


def _row(values: Mapping[str, Any]) -> FoldRow:
    content = {name: value for name, value in values.items() if name != "row_hash"}
    for name in BYTES:
        if content[name] is not None:
            content[name] = b64decode(content[name])
    row = FoldRow(**content)
    if row.row_hash != values["row_hash"]:
        raise ValueError("a damaged member")
    return row
