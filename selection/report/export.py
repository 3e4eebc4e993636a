"""The winner as files that other people can use.

A new folder appears whole or not at all; into an existing one each file is put whole. Nothing here
opens the held-out set, and no name of a study becomes a path.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
import yaml

from selection.data.folds import fold_fingerprint
from selection.errors import ErrorDetail, ExportError, install_command, nearest_name, show
from selection.model.files import DOCUMENT_FILE, WEIGHTS_FILE, decode_model
from selection.model.onnx_graph import encode_onnx
from selection.report.csv_text import csv_text
from selection.report.earlier_export import Subject, stale_files
from selection.report.model_card import card_title, model_card
from selection.report.values import trial_rows, winner_value
from selection.report.work_folder import work_folder
from selection.store.evidence import StoredModel
from selection.study.ensemble import Ensemble, counts_of, trials_of
from selection.study.fields import MAX_NAME_CHARACTERS
from selection.study.space import value_to_json
from selection.study.spec import parse_study
from selection.study.trial import Trial
from selection.workflows.assess import Assessment

FORMATS: Mapping[str, tuple[str, ...]] = {
    "toml": ("best.toml",),
    "json": ("best.json",),
    "yaml": ("best.yaml",),
    "csv": ("trials.csv",),
    "parquet": ("trials.parquet",),
    "safetensors": (WEIGHTS_FILE, DOCUMENT_FILE),
    "onnx": ("model.onnx",),
    "model-card": ("MODEL_CARD.md",),
}
# What needs an extra package: left out with a word where it is absent and not asked for by name.
EXTRAS: Mapping[str, str] = {"parquet": "pyarrow", "onnx": "onnx"}
MODEL_FORMATS = ("safetensors", "onnx")


@dataclass(frozen=True, eq=False)
class Winner:
    """Hold what is exported: a trial or an ensemble, what is said of it, and its final model."""

    assessment: Assessment
    trial: Trial
    model: StoredModel | None


def installed_formats() -> list[str]:
    """Return the formats whose packages are installed."""
    return [name for name in FORMATS if name not in EXTRAS or util.find_spec(EXTRAS[name])]


def missing_formats() -> list[str]:
    """Return a line for each format that is left out for want of its package."""
    missing = [name for name in FORMATS if name not in installed_formats()]
    return [f"{FORMATS[name][0]} left out: {install_command(name)}" for name in missing]


def check_formats(names: Sequence[str]) -> list[str]:
    """Return formats that are known, each once.

    Raises: ExportError.
    """
    for name in names:
        if name not in FORMATS:
            rule, hint = "the format must be known", nearest_name(name, FORMATS)
            raise ExportError(ErrorDetail("format", rule, show(name), hint))
    if not names:
        hint = f"Known: {', '.join(FORMATS)}."
        raise ExportError(ErrorDetail("format", "a format must be named", "none", hint))
    return list(dict.fromkeys(names))


def make_files(winner: Winner, formats: Collection[str]) -> dict[str, bytes]:
    """Return the content of every file of these formats, by name.

    Raises: ExportError if a format needs a package that is not installed.
    """
    makers: Mapping[str, Callable[[Winner], tuple[bytes, ...]]] = {
        "toml": lambda own: (_toml(own),),
        "json": lambda own: (json.dumps(_best(own), indent=2).encode() + b"\n",),
        "yaml": lambda own: (yaml.safe_dump(_best(own), sort_keys=False).encode(),),
        "csv": lambda own: (csv_text(_rows(own)).encode(),),
        "parquet": lambda own: (_parquet(own),),
        "safetensors": _model_files,
        "onnx": lambda own: (_onnx(own),),
        "model-card": lambda own: (_card(own),),
    }
    files: dict[str, bytes] = {}
    for name in formats:
        files |= dict(zip(FORMATS[name], makers[name](winner), strict=True))
    return files


def write_files(
    files: Mapping[str, bytes], folder: Path, subject: Subject, *, force: bool
) -> list[str]:
    """Write all files into a folder; one that holds anything is left alone without force.

    With force, files of the same names are replaced, and those that an export of another trial
    left are removed; their names are returned. Nothing else is touched.

    Raises: ExportError if the folder is not free or cannot be written.
    """
    where = str(folder)
    try:
        check_folder(folder, force=force)
        if folder.is_dir():
            return _fill_folder(files, folder, subject)
        _make_folder(files, folder)
    except OSError as error:
        raise _unwritable(where, error) from None
    return []


def subject_of(winner: Winner) -> Subject:
    """Return which trial is exported."""
    study, number = winner.assessment.study.name, winner.trial.number
    counts = counts_of(winner.trial)
    return Subject(study, number, card_title(study, number, counts), counts)


def check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder that is not free.

    Raises: ExportError.
    """
    where = str(folder)
    try:
        is_other = folder.exists() and not folder.is_dir()
        is_full = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise _unwritable(where, error) from None
    if is_other:
        raise ExportError(
            ErrorDetail(where, "an export is a folder", "a file", "Name another folder.")
        )
    if is_full and not force:
        rule = "an export does not overwrite"
        hint = "Name another folder, or say --force."
        raise ExportError(ErrorDetail(where, rule, "a folder with files", hint))


def study_content(winner: Winner) -> dict[str, Any]:
    """Return a study file, as TOML knows it, that trains this one trial again, or the leading one.

    Every hyperparameter is a constant; keys without effect on the trial are left out.
    """
    assessment, trial = winner.assessment, winner.trial
    spec, study = assessment.spec, assessment.study
    setting = spec.setting(trial.params)
    content: dict[str, Any] = _without_none(spec.to_json())
    values = {**spec.constants, **trial.params}
    values.pop("weight_decay" if setting.kind.optimizer == "adam" else "l2", None)
    content["name"] = f"{study.name[: MAX_NAME_CHARACTERS - 5]}-best"
    content["space"] = {name: value_to_json(value) for name, value in values.items()}
    content["training"]["nesterov"] = setting.kind.nesterov
    content["search"] = {
        "metric": spec.metric,
        "sampler": "random",
        "pruner": "none",
        "trials": 1,
        "cohort": 1,
    }
    content["selection"] = {"rule": assessment.rule}
    # Whoever trains it again says where.
    content.pop("run", None)
    content["provenance"] = {
        "study": study.name,
        "number": trial.number,
        "rule": assessment.rule,
        "data_fingerprint": study.data_fingerprint,
        "held_out_fingerprint": study.held_out_fingerprint,
        "fold_fingerprint": fold_fingerprint(study.facts.folds),
        "versions": _versions(winner),
    }
    again = parse_study(content, "best.toml")
    assert again.setting(again.default) == setting, "the study file trains the same setting"
    return content


def _toml(winner: Winner) -> bytes:
    head = "# One trial as a study of its own. Train it again: selection run best.toml\n"
    if isinstance(winner.trial, Ensemble):
        head += f"# It leads the ensemble of {len(winner.trial.counted)} trials: see best.json.\n"
    return (head + tomli_w.dumps(study_content(winner))).encode()


def _best(winner: Winner) -> dict[str, Any]:
    """Return what best.json and best.yaml hold."""
    assessment, study = winner.assessment, winner.assessment.study
    return {
        **winner_value(assessment),
        "seed": assessment.spec.seed,
        "data_fingerprint": study.data_fingerprint,
        "held_out_fingerprint": study.held_out_fingerprint,
        "fold_fingerprint": fold_fingerprint(study.facts.folds),
        "versions": _versions(winner),
        "environment": dict(study.environment),
        "study_file": study_content(winner),
        **_member_files(winner),
    }


def _member_files(winner: Winner) -> dict[str, Any]:
    """Return a study file for each trial of an ensemble, by its number; nothing for a trial."""
    if not isinstance(winner.trial, Ensemble):
        return {}
    files = {
        str(trial.number): study_content(replace(winner, trial=trial))
        for trial in trials_of(winner.trial)
    }
    return {"study_files": files}


def _versions(winner: Winner) -> dict[str, str]:
    versions: dict[str, str] = dict(winner.assessment.study.environment["versions"])
    return versions


def _rows(winner: Winner) -> list[dict[str, Any]]:
    return trial_rows(winner.assessment.study, winner.assessment.trials)


def _parquet(winner: Winner) -> bytes:
    buffer = io.BytesIO()
    table = pd.DataFrame(_rows(winner))
    for name in table.columns:
        if any(isinstance(value, str) for value in table[name]):  # a width may be 8 or "4 4"
            table[name] = table[name].map(lambda value: value if value is None else str(value))
    try:
        table.to_parquet(buffer, engine="pyarrow", index=False)
    except ImportError:
        hint = f"Install it: {install_command('parquet')}."
        raise ExportError(
            ErrorDetail("--format parquet", "Parquet needs pyarrow", "none installed", hint)
        ) from None
    return buffer.getvalue()


def _model_files(winner: Winner) -> tuple[bytes, bytes]:
    assert winner.model is not None, "a model was made for these formats"
    document = json.dumps(winner.model.document, indent=1).encode() + b"\n"
    return winner.model.weights, document


def _onnx(winner: Winner) -> bytes:
    assert winner.model is not None, "a model was made for these formats"
    return encode_onnx(decode_model(winner.model.document, winner.model.weights, "final model"))


def _card(winner: Winner) -> bytes:
    document = None if winner.model is None else winner.model.document
    return model_card(winner.assessment, winner.trial, document).encode()


def _without_none(value: Any) -> Any:
    """Return JSON without its nulls: TOML has no word for them."""
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    return value


def _make_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Fill a folder beside the one asked for, and rename it once it is whole."""
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with work_folder(parent) as work:
        work.chmod(0o777 & ~_umask())
        for name, content in files.items():
            _write(work / name, content)
        os.replace(work, folder)


def _fill_folder(files: Mapping[str, bytes], folder: Path, subject: Subject) -> list[str]:
    with work_folder(folder) as work:
        for name, content in files.items():
            _write(work / name, content)
        stale = [path for path in stale_files(folder, subject) if path.name not in files]
        # Gone before the new ones are there: what is left at any moment is of one trial.
        for path in stale:
            path.unlink(missing_ok=True)
        for name in files:
            os.replace(work / name, folder / name)
    return [path.name for path in stale]


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _unwritable(where: str, error: OSError) -> ExportError:
    got = error.strerror or str(error)
    return ExportError(
        ErrorDetail(where, "the folder must be writable", got, "Name a folder of yours.")
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
