"""The final models of a study: its winner trained again, one model for each seed, and kept.

No held-out row is seen here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from selection.data.folds import Split
from selection.data.prepare import fit_preparation, prepare_folds
from selection.errors import ErrorDetail, StudyStateError
from selection.model.estimator import AnyModel, ModelMember, make_model
from selection.model.files import decode_model, encode_model
from selection.seeds import seed_for
from selection.store.evidence import Evidence, StoredModel
from selection.store.study_record import StudyRecord
from selection.study.ensemble import trials_of
from selection.study.fields import CSV_KEYS
from selection.study.space import value_to_json
from selection.study.spec import StudySpec
from selection.study.trial import Trial
from selection.train.device import Device
from selection.train.refit import Fitted, fit_members
from selection.workflows.kept_models import kept_models, where
from selection.workflows.study_data import StudyData, installed_versions


def final_models(
    study: StudyRecord,
    spec: StudySpec,
    data: StudyData,
    trial: Trial,
    evidence: Evidence,
    device: Device,
) -> list[AnyModel]:
    """Return the final models of a trial or an ensemble, one per seed, made now or earlier.

    The first is the one that is scored and exported; the others show what the seed does. A
    refit_ensemble is one model with a member per seed. The model of an ensemble is the mean of
    those of its trials.

    Raises: StudyStateError where training diverges.
    """
    for each in trials_of(trial):
        if not evidence.models(study, each.number):
            made = [
                _make_model(study, spec, data, each, seed, members)
                for seed, members in enumerate(_train_members(spec, data, each, device))
            ]
            evidence.keep_models(study, each.number, made)
    return [
        decode_model(stored.document, stored.weights, where(study))
        for stored in kept_models(study, trial, evidence)
    ]


def seed_models(model: AnyModel) -> list[AnyModel]:
    """Return what each seed of a refit_ensemble makes alone; none of other models."""
    if model.document["model"] != "refit_ensemble":
        return []
    trials = len(model.document.get("trials", {})) or 1
    seeds = len(model.members) // trials
    return [make_model(model.document, model.members[seed::seeds]) for seed in range(seeds)]


def _train_members(
    spec: StudySpec, data: StudyData, trial: Trial, device: Device
) -> list[list[tuple[ModelMember, Fitted]]]:
    """Return the members of each seed's model."""
    final = spec.sections.final
    if final.model != "fold_ensemble":
        everything = np.arange(len(data.dataset), dtype=np.int64)
        whole = Split(0, 0, everything, everything[:0])
        # Seeds differ as repeats do, and train side by side.
        members = _fit(
            spec, data, trial, [whole], final.seeds, seed_for(spec.seed, "final"), device
        )
        return [members] if final.model == "refit_ensemble" else [[each] for each in members]
    trees = [spec.seed, *(seed_for(spec.seed, "final", seed) for seed in range(1, final.seeds))]
    return [_fit(spec, data, trial, data.plan.splits, 1, tree, device) for tree in trees]


def _fit(
    spec: StudySpec,
    data: StudyData,
    trial: Trial,
    splits: Sequence[Split],
    repeats: int,
    tree: int,
    device: Device,
) -> list[tuple[ModelMember, Fitted]]:
    """Train one setting on each split, and each split `repeats` times."""
    preparations = [fit_preparation(data.dataset, split.training, spec) for split in splits]
    prepared = prepare_folds(data.dataset, splits, spec)
    folds = [
        replace(fold, repeat=fold.repeat + repeat) for repeat in range(repeats) for fold in prepared
    ]
    fitted = fit_members(
        spec.setting(trial.params),
        folds,
        spec.task,
        spec.metric,
        tree,
        device,
        stop_after=trial.best_epoch,
    )
    if not all(each.is_finite for each in fitted):
        rule = f"the final model of trial {trial.number} must end with finite weights"
        hint = "Choose another winner, such as by --rule one_standard_error."
        raise StudyStateError(ErrorDetail(f"study {spec.name}", rule, "diverged training", hint))
    return [
        (ModelMember(preparation, each.layers), each)
        for preparation, each in zip(preparations * repeats, fitted, strict=True)
    ]


def _make_model(
    study: StudyRecord,
    spec: StudySpec,
    data: StudyData,
    trial: Trial,
    seed: int,
    members: Sequence[tuple[ModelMember, Fitted]],
) -> StoredModel:
    setting = spec.setting(trial.params)
    dataset = data.dataset
    batch, epochs = setting.kind.batch_size, trial.best_epoch or setting.kind.epochs
    per_epoch = [-(-len(split.training) // batch) for split in data.plan.splits]
    facts = {
        "study": study.name,
        "trial": trial.number,
        "model": spec.sections.final.model,
        "seed": seed,
        "task": spec.task,
        "metric": spec.metric,
        "params": {name: value_to_json(value) for name, value in trial.params.items()},
        "activation": setting.kind.activation,
        "feature_names": list(dataset.feature_names),
        "categorical": list(dataset.categories),
        "class_names": list(dataset.class_names),
        "class_kind": dataset.class_kind,
        "category_kinds": dict(dataset.category_kinds),
        "impute": spec.sections.data.impute,
        "csv": {name: getattr(spec.sections.data, name) for name in CSV_KEYS},
        "training": {
            "rows": [fitted.rows for _, fitted in members],
            "epochs": epochs,
            **({} if trial.best_epoch is None else {"most_epochs": setting.kind.epochs}),
            "batch_size": batch,
            "batches_per_epoch": [fitted.batches for _, fitted in members],
            "updates": [fitted.updates for _, fitted in members],
            "updates_in_cross_validation": float(np.mean(per_epoch)) * epochs,
            "running_loss": [_number(fitted.running_loss) for _, fitted in members],
            "running_score": [_number(fitted.running_score) for _, fitted in members],
        },
        "data_fingerprint": study.data_fingerprint,
        "versions": installed_versions(),
    }
    document, weights = encode_model(facts, [member for member, _ in members])
    return StoredModel(seed, document, weights)


def _number(value: float) -> float | None:
    """Return a number as JSON knows it: None for what is none."""
    return value if math.isfinite(value) else None
