"""A study grows until its held-out set is opened, and is then the study that asked for it all."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from selection.errors import RefusedError, StudyStateError
from selection.report.course import course_lines
from selection.report.values import winner_value
from selection.store.database import open_database
from selection.store.study_record import StudyRecord
from selection.study.budget import is_finished
from selection.study.changes import RecordedChange
from selection.study.spec import StudySpec
from selection.train.device import choose_device, describe_device
from selection.workflows.assess import Assessment
from selection.workflows.study_data import enter_study, load_study_data, make_trainer
from selection.workflows.sweep import run_sweep
from tests.sweep_bench import ALONE, Bench, as_row, make_spec

GRID: dict[str, Any] = {
    "width": {"choices": [2, 4, 8, 16]},
    "learning_rate": {"choices": [0.01, 0.03, 0.1, 0.3, 1.0]},
}
SAMPLERS: list[dict[str, Any]] = [
    {"sampler": "random"},
    {"sampler": "random", "pruner": "hyperband", "pruner_options": {"reduction_factor": 2}},
    {"sampler": "tpe"},
    {"sampler": "gp"},
    {"sampler": "grid", "space": GRID},
]


@pytest.fixture
def grown(tmp_path_factory: pytest.TempPathFactory, storage_url: str) -> Iterator[Bench]:
    """A bench on either database."""
    made = Bench(tmp_path_factory.mktemp("grown"))
    if not storage_url.startswith("sqlite"):
        made.database.close()
        made.use(open_database(storage_url, create=True, write=True))
    yield made
    made.database.close()


def contents(bench: Bench, study: StudyRecord) -> list[Any]:
    """Return all that a study has of its trials: rows, and curves and predictions as bytes."""
    return [
        (
            as_row(trial),
            [
                (fold.repeat, fold.fold, fold.curve.points.tobytes(), _bytes(fold.outputs))
                for fold in bench.records.curves(study, trial.number, outputs=True)
            ],
        )
        for trial in bench.records.trials(study)
    ]


def _bytes(outputs: np.ndarray[Any, Any] | None) -> bytes | None:
    return None if outputs is None else outputs.tobytes()


def answer(bench: Bench, study: StudyRecord) -> dict[str, Any]:
    """Return all that is said of a study but its changes and how long its baselines took."""
    value = winner_value(bench.assess(bench.repository.study(study.name)))
    for baseline in value["baselines"].values():
        baseline["note"] = re.sub(r"trained in [\d.]+ s", "trained", baseline["note"])
    return {key: value[key] for key in value if key != "changes"}


def changes_of(bench: Bench) -> list[tuple[str, Any, Any, int]]:
    study = bench.repository.study("iris")
    return [(e.difference.key, e.difference.before, e.difference.after, e.trials)
            for e in study.changes]  # fmt: skip


def extended_at(bench: Bench) -> list[int]:
    value = winner_value(bench.assess(bench.repository.study("iris")))["extended_at"]
    assert isinstance(value, list)
    return value


def lines_of(assessment: Assessment) -> str:
    return "\n".join(course_lines(assessment))


@pytest.mark.parametrize(
    "search", SAMPLERS, ids=lambda each: "-".join(map(str, each.values()))[:16]
)
def test_more_trials_make_the_study_that_had_them_from_the_start(
    grown: Bench, other_bench: Bench, search: dict[str, Any]
) -> None:
    short, whole = make_spec(trials=8, **search), make_spec(trials=16, **search)
    first, _ = grown.procedure(short)
    before = contents(grown, first)
    study, _ = grown.procedure(whole)
    expected, _ = other_bench.procedure(whole)
    assert study.uuid == first.uuid
    assert contents(grown, study) == contents(other_bench, expected)
    assert contents(grown, study)[:8] == before
    assert len(contents(grown, study)) == 16
    assert answer(grown, study) == answer(other_bench, expected)
    assert changes_of(grown) == [("search.trials", 8, 16, 8)]
    assert "extended" not in lines_of(grown.assess(grown.repository.study("iris")))


def test_tpe_learns_from_the_trials_before_the_extension(grown: Bench, other_bench: Bench) -> None:
    short, whole = make_spec(trials=12), make_spec(trials=24)
    grown.run(short)
    study = grown.run(whole)
    assert contents(grown, study) == contents(other_bench, other_bench.run(whole))


def test_proposed_ahead_too_the_longer_study_is_the_same(bench: Bench, other_bench: Bench) -> None:
    bench.asks_ahead = other_bench.asks_ahead = True
    bench.run(make_spec(trials=16))
    study = bench.run(make_spec(trials=24))
    expected = other_bench.run(make_spec(trials=24))
    assert contents(bench, study) == contents(other_bench, expected)


def test_a_budget_that_ended_inside_a_cohort_is_named_in_the_report(
    grown: Bench, other_bench: Bench
) -> None:
    grown.procedure(make_spec(trials=6))
    study, _ = grown.procedure(make_spec(trials=12))
    expected, _ = other_bench.procedure(make_spec(trials=12))
    assert contents(grown, study) != contents(other_bench, expected)
    assessment = grown.assess(grown.repository.study("iris"))
    assert winner_value(assessment)["extended_at"] == [6]
    assert "extended at trial 6, inside a cohort of 4: from there on its trials are not those of " \
        "a study of 12 from the start" in lines_of(assessment)  # fmt: skip
    assert winner_value(other_bench.assess(expected))["extended_at"] == []


def stopped_after_a_cohort(bench: Bench, spec: StudySpec) -> StudyRecord:
    class Stopped(BaseException):
        pass

    def stop(news: Any) -> None:
        if len(news.finished) == 4 and news.training == 0:
            raise Stopped

    with pytest.raises(Stopped):
        bench.run(spec, stop)
    return bench.repository.study("iris")


def test_a_study_extended_before_its_short_cohort_is_exact(
    bench: Bench, other_bench: Bench
) -> None:
    stopped_after_a_cohort(bench, make_spec(trials=6))
    study = bench.run(make_spec(trials=12))
    expected = other_bench.run(make_spec(trials=12))
    assert contents(bench, study) == contents(other_bench, expected)
    assert changes_of(bench) == [("search.trials", 6, 12, 4)]
    assert extended_at(bench) == []


def test_a_study_that_ran_out_of_time_goes_on_with_more(grown: Bench, other_bench: Bench) -> None:
    def wait(_news: Any) -> None:
        time.sleep(0.01)

    late = grown.run(make_spec(trials=12, timeout_seconds=1e-6), wait)
    assert len(grown.records.trials(late)) == 4
    said = lines_of(grown.assess(late))
    assert "ended by its time limit after 4 of 12 trials: timeout_seconds = 1e-06; raise" in said
    study = grown.run(make_spec(trials=12))
    expected = other_bench.run(make_spec(trials=12))
    assert contents(grown, study) == contents(other_bench, expected)
    assert changes_of(grown) == [("search.timeout_seconds", 1e-6, 0.0, 4)]
    assert "time limit" not in lines_of(grown.assess(grown.repository.study("iris")))


def test_a_budget_may_shrink_to_the_trials_that_have_begun(
    bench: Bench, other_bench: Bench
) -> None:
    stopped_after_a_cohort(bench, make_spec(trials=12))
    with pytest.raises(StudyStateError, match="at least the 4 trials that have begun, but got 3"):
        bench.run(make_spec(trials=3))
    study = bench.run(make_spec(trials=6))
    expected = other_bench.run(make_spec(trials=6))
    assert contents(bench, study) == contents(other_bench, expected)


def test_a_grid_without_points_left_takes_no_more(bench: Bench) -> None:
    spec = make_spec(sampler="grid", space={"width": {"choices": [2, 4]}}, trials=2)
    bench.run(spec)
    more = make_spec(sampler="grid", space={"width": {"choices": [2, 4]}}, trials=9)
    study = bench.run(more)
    assert len(bench.records.trials(study)) == 2, "both points, one of them the default"
    trials = bench.records.trials(study)
    assert is_finished(study.spec(), trials, bench.records.elapsed_seconds(study))


def claim_held_out(bench: Bench, study: StudyRecord) -> None:
    finished = sum(each.state.is_finished for each in bench.records.trials(study))
    assert bench.ledger.claim(study, 0, "best", evaluation=1, reason="", finished=finished)


def enter(bench: Bench, spec: StudySpec) -> StudyRecord:
    data = load_study_data(spec, bench.folder)
    return enter_study(spec, data, bench.records, describe_device(choose_device("cpu")))


def test_nothing_changes_once_the_held_out_set_is_opened(grown: Bench) -> None:
    study = grown.run(make_spec(trials=4))
    claim_held_out(grown, study)
    for changed in (
        make_spec(trials=16),
        make_spec(trials=4, timeout_seconds=9.0),
        make_spec({"selection": {"rule": "one_standard_error"}}, trials=4),
        make_spec({"assessment": {"level": 0.9}}, trials=4),
        make_spec({"assessment": {"bootstraps": 200}}, trials=4),
        make_spec({"assessment": {"rope": 0.1}}, trials=4),
    ):
        rule = "keeps its budget, rule and level after its held-out set was opened"
        with pytest.raises(RefusedError, match=rule) as caught:
            enter(grown, changed)
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)
    kept = grown.repository.study("iris")
    assert (kept.changes, kept.spec_fingerprint) == ((), study.spec_fingerprint)
    # What no result depends on may change.
    entered = enter(grown, make_spec(trials=4, max_retries=7))
    assert entered.spec().sections.search.max_retries == 7


def test_another_rule_and_level_are_read_from_the_same_trials(grown: Bench) -> None:
    sections: dict[str, Any] = {"assessment": {"bootstraps": 100}}
    first, _ = grown.procedure(make_spec(sections, trials=8))
    before = contents(grown, first)
    changed: dict[str, Any] = {
        "selection": {"rule": "one_standard_error"},
        "assessment": {"bootstraps": 150, "level": 0.8, "rope": 0.05},
    }
    grown.lines.clear()
    study, _ = grown.procedure(make_spec(changed, trials=8))
    assert grown.lines == [], "nothing is trained"
    assert contents(grown, study) == before
    assert changes_of(grown) == [
        ("assessment.bootstraps", 100, 150, 8),
        ("assessment.level", 0.95, 0.8, 8),
        ("assessment.rope", None, 0.05, 8),
        ("selection.rule", "best", "one_standard_error", 8),
    ]
    assessment = grown.assess(grown.repository.study("iris"))
    assert (assessment.rule, assessment.rope) == ("one_standard_error", 0.05)
    assert assessment.correction is None or assessment.correction.level == 0.8
    said = lines_of(assessment)
    assert 'selection.rule was changed from "best" to "one_standard_error" after 8 trials' in said
    assert "assessment.rope was changed from none to 0.05 after 8 trials" in said
    told = winner_value(assessment)["changes"]
    assert [RecordedChange.from_json(each) for each in told] == list(assessment.study.changes)


def test_outer_folds_are_scored_anew_where_the_procedure_is_another(bench: Bench) -> None:
    def spec(trials: int, **sections: Any) -> StudySpec:
        return make_spec({"assessment": {"nested": True, "bootstraps": 100}, **sections},
                         trials=trials)  # fmt: skip

    def nested(spec: StudySpec) -> int:
        """Run, and return how many outer folds were scored."""
        bench.lines.clear()
        bench.procedure(spec)
        return sum("nested outer fold" in line and "trial " in line for line in bench.lines)

    assert nested(spec(4)) == 3
    baselines = [fold.score for fold in bench.evidence.baselines(bench.repository.study("iris"))]
    assert nested(spec(4)) == 0
    assert nested(spec(8)) == 3
    assert nested(spec(8, training={"epochs": 4, "batch_size": 16, "diagnostics": True})) == 0
    assert nested(spec(8, selection={"rule": "one_standard_error"})) == 3
    study = bench.repository.study("iris")
    assert [fold.score for fold in bench.evidence.baselines(study)] == baselines
    assert len(bench.evidence.outer_folds(study)) == 3


def test_a_worker_that_keeps_to_the_old_budget_leaves_a_short_cohort_that_shows(
    bench: Bench,
) -> None:
    old, new = make_spec(trials=6), make_spec(trials=12)
    study = stopped_after_a_cohort(bench, old)
    enter(bench, new)
    trainer = make_trainer(old, load_study_data(old, bench.folder), choose_device("cpu"), 0)
    run_sweep(old, study, bench.repository, trainer, ALONE, bench.view())
    assert len(bench.records.trials(study)) == 6
    bench.run(new)
    assert extended_at(bench) == [6]


def test_a_file_changed_by_another_process_is_not_overwritten(grown: Bench) -> None:
    study = enter(grown, make_spec(trials=4))
    enter(grown, make_spec(trials=8))
    with pytest.raises(StudyStateError, match="a change by another process"):
        grown.records.keep_file(study, make_spec(trials=12))
    assert grown.repository.study("iris").spec().budget == 8


def test_changes_are_kept_in_order_with_their_times(grown: Bench) -> None:
    for trials in (4, 8, 12):
        enter(grown, make_spec(trials=trials))
    study = grown.repository.study("iris")
    assert changes_of(grown) == [("search.trials", 4, 8, 0), ("search.trials", 8, 12, 0)]
    times = [each.at for each in study.changes]
    assert times == sorted(times)
    assert all(study.created_at <= at for at in times)
