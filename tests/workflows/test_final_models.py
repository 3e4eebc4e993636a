"""Final models are what the study says they are: refits, means of refits, or its fold models."""

from __future__ import annotations

import numpy as np
import pytest

from selection.data import held_out
from selection.model.files import decode_model
from selection.stats.scores import log_softmax
from selection.train.device import choose_device
from selection.workflows import final_models as models
from tests.sweep_bench import Bench, make_spec


def test_a_refit_ensemble_is_the_mean_of_the_refits_of_each_seed(bench: Bench) -> None:
    several = make_spec({"final": {"seeds": 3}}, pruner="none", pruner_options={})
    averaged = make_spec(
        {"final": {"model": "refit_ensemble", "seeds": 3}}, pruner="none", pruner_options={}
    )
    study, data = bench.procedure(several)
    features = data.dataset.features
    winner = bench.assess(study).winner
    assert winner is not None
    device = choose_device("cpu")
    refits = models.final_models(study, several, data, winner, bench.evidence, device)
    made = models._train_members(averaged, data, winner, device)
    (stored,) = [models._make_model(study, averaged, data, winner, 0, members) for members in made]
    model = decode_model(stored.document, stored.weights, "here")
    chances = [np.exp(log_softmax(refit.outputs(features, {}))) for refit in refits]
    np.testing.assert_allclose(
        np.exp(log_softmax(model.outputs(features, {}))), np.mean(chances, axis=0), atol=1e-6
    )
    alone = [each.outputs(features, {}) for each in models.seed_models(model)]
    np.testing.assert_array_equal(alone, [refit.outputs(features, {}) for refit in refits])


def test_an_ensemble_is_the_very_fold_models_of_the_record(bench: Bench) -> None:
    spec = make_spec({"final": {"model": "fold_ensemble"}}, pruner="none", pruner_options={})
    study, data = bench.procedure(spec)
    assessment = bench.assess(study)
    assert assessment.winner is not None
    (model,) = models.final_models(
        study, spec, data, assessment.winner, bench.evidence, choose_device("cpu")
    )
    assert len(model.members) == 3
    record = bench.records.curves(study, assessment.winner.number, outputs=True)
    for member, split, fold in zip(model.members, data.plan.splits, record, strict=True):
        features = data.dataset.features[split.validation]
        outputs = model._member_outputs(member, features, {})
        assert fold.outputs is not None
        np.testing.assert_allclose(outputs, fold.outputs, atol=1e-4)
    rows = held_out.open_held_out(spec, data.dataset, bench.folder)
    each = [
        np.exp(log_softmax(model._member_outputs(member, rows.features, {})))
        for member in model.members
    ]
    chances = np.exp(log_softmax(model.outputs(rows.features, {})))
    np.testing.assert_allclose(chances, np.mean(each, axis=0), atol=1e-6)


def test_the_final_model_is_trained_once_and_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(pruner="none", pruner_options={})
    study, data = bench.procedure(spec)
    winner = bench.assess(study).winner
    assert winner is not None
    device = choose_device("cpu")
    (first,) = models.final_models(study, spec, data, winner, bench.evidence, device)
    monkeypatch.setattr(models, "fit_members", None)
    (again,) = models.final_models(study, spec, data, winner, bench.evidence, device)
    features = data.dataset.features
    np.testing.assert_array_equal(first.outputs(features, {}), again.outputs(features, {}))
