"""A warm start on both databases: the best settings of another study follow the default."""

from __future__ import annotations

import pytest

import selection
from selection.store.repository import open_repository
from tests.command_line import Cli
from tests.workflows.test_enqueue import AfterCohort, content


class Interrupt(AfterCohort):
    def __init__(self) -> None:
        super().__init__(self.stop)

    def stop(self) -> None:
        raise KeyboardInterrupt


def test_a_warm_start_asks_for_the_best_settings_after_the_default(
    storage_url: str, cli: Cli
) -> None:
    first = selection.run(content(trials=8), storage=storage_url, progress=False)
    changed = content("warm", warm_start="small", trials=9, cohort=4)
    changed["space"]["width"]["high"] = 6
    with pytest.raises(KeyboardInterrupt):
        selection.run(changed, storage=storage_url, progress=False, callbacks=[Interrupt()])
    with open_repository(storage_url, write=True) as repository:
        gone = repository.study("small").optuna_study_id
        repository.database.storage.delete_study(gone)
    study = selection.run(changed, storage=storage_url, progress=False)
    trials = study.view().trials
    assert [trial.number for trial in trials] == list(range(9))
    assert dict(trials[0].params) == dict(study.spec.default)
    warm = [trial for trial in trials if trial.asked_for]
    assert [trial.number for trial in warm] == [1, 2, 3, 4, 5]
    assert len({study.spec.setting(trial.params) for trial in trials[:6]}) == 6
    assert {trial.params["width"] for trial in warm} <= set(range(2, 7))
    origin = warm[0].asked_for
    assert origin.startswith("warm start: trial ")
    assert "of study small" in origin
    assert any(trial.asked_for.endswith("moved into the space") for trial in warm)
    listed = cli("trials", "warm", "--json", "--storage", storage_url).json
    assert [each["origin"] for each in listed[:2]] == ["default", origin]
    assert [each["origin"] for each in listed[6:]] == ["sampler"] * 3
    assert any(
        "the corrected score does not count that choice" in each.text for each in study.warnings
    )
    assert first.name == "small"


def test_a_warm_start_ranks_by_the_other_study_and_leaves_out_what_does_not_fit(
    storage_url: str,
) -> None:
    other = content("other", metric="cross_entropy", trials=8, sampler="random")
    first = selection.run(other, storage=storage_url, progress=False)
    changed = content("warm", warm_start="other", trials=8, cohort=8)
    changed["space"]["activation"] = {"choices": ["tanh", "gelu"]}
    changed["space"]["dropout"] = {"low": 0.0, "high": 0.5}
    warm = selection.run(changed, storage=storage_url, progress=False)
    losses = {
        trial.number: trial.value or 0.0
        for trial in first.view().trials
        if trial.params["activation"] == "tanh"
    }
    wanted = sorted(losses, key=lambda number: losses[number])[:5]
    asked = [trial for trial in warm.view().trials if trial.asked_for]
    assert [int(trial.asked_for.split()[3]) for trial in asked] == wanted
    assert {trial.params["dropout"] for trial in asked} == {0.0}


def test_a_warm_start_from_nothing_is_refused(storage_url: str) -> None:
    with pytest.raises(selection.StudyStateError) as caught:
        selection.run(content(warm_start="smal"), storage=storage_url, progress=False)
    assert str(caught.value) == (
        "study small: [search] warm_start: the database must contain the study whose settings are "
        'asked for first, but got "smal". Run that study first.'
    )
    assert selection.list_studies(storage_url) == []
