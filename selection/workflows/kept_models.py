"""The final models on record: each trial's own, and an ensemble's, which is made of them."""

from __future__ import annotations

from selection.model.files import decode_model
from selection.model.mixture import Part, mix
from selection.store.evidence import Evidence, StoredModel
from selection.store.study_record import StudyRecord
from selection.study.ensemble import Ensemble
from selection.study.trial import Trial


def kept_models(study: StudyRecord, winner: Trial, evidence: Evidence) -> list[StoredModel]:
    """Return the final models of a trial or an ensemble, by seed; none where one is missing."""
    if not isinstance(winner, Ensemble):
        return evidence.models(study, winner.number)
    kept = [evidence.models(study, counted.trial.number) for counted in winner.counted]
    if not all(kept):
        return []
    mixtures = []
    for seed, models in enumerate(zip(*kept, strict=True)):
        parts = [
            Part(decode_model(each.document, each.weights, where(study)), counted.count)
            for each, counted in zip(models, winner.counted, strict=True)
        ]
        mixtures.append(StoredModel(seed, *mix(parts)))
    return mixtures


def where(study: StudyRecord) -> str:
    """Return what an error calls the final model of a study."""
    return f"study {study.name}: final model"
