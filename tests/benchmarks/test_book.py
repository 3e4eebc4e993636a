"""The book's page is made of what was measured: other numbers in, other words out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.book import PLANS
from benchmarks.book_page import PUBLISHED, figure_line, judgement, next_run, page
from benchmarks.book_runs import FOLDER, FinalFigures, Run, TrialFigures, run_study
from benchmarks.book_tables import activation_part, degree_part, dropout_part, fold_part, spread
from selection.stats.paired_tests import Comparison
from selection.study.spec import read_study

BY_NAME = {each.what: each for each in PUBLISHED}
TEST_ACCURACY = BY_NAME["MLP, test accuracy"]
TRAINING_LOSS = BY_NAME["MLP, training loss"]


def fake(study: str, seed: int = 0, final: FinalFigures | None = None) -> Run:
    """Return a run of a study in which every point of its grid did the same; trial 0 won."""
    spec = read_study(FOLDER / f"{study}.toml")
    names = list(spec.space)
    points = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(spec.space[name].grid() or () for name in names))
    ]
    trials = [
        TrialFigures(
            setting=spec.setting(point),
            fold_scores=(0.5, 0.6, 0.7),
            training_score=0.8,
            validation_score=0.6,
            verdict="balanced",
            gradients=(0.25, 0.5),
            weights=(2.0,),
            advantage=Comparison(0.01, -0.02, 0.04, 0.4, "") if index else None,
            final=final or FinalFigures(0.382, 0.865, 13.0, {"accuracy": 0.84, "rmse": 1.0}),
        )
        for index, point in enumerate(points)
    ]
    return Run(study, seed, 0.95, 20.0, tuple(trials))


def with_final(study: str, **changes: Any) -> Run:
    base = FinalFigures(0.382, 0.865, 13.0, {"accuracy": 0.84, "rmse": 1.0})
    return fake(study, final=replace(base, **changes))


def with_trials(run: Run, change: Callable[[TrialFigures], TrialFigures]) -> Run:
    return replace(run, trials=tuple(change(trial) for trial in run.trials))


def test_a_line_of_the_table_is_the_mean_and_the_ends_of_our_runs() -> None:
    runs = [with_final("mlp", scores={"accuracy": score}) for score in (0.83, 0.84, 0.856)]
    assert figure_line(TEST_ACCURACY, runs) == (
        "MLP, test accuracy",
        "0.838 (0.828 to 0.853)",
        "0.842 (0.830 to 0.856)",
        "3",
        "in part: 2 of 3 runs",
        "20 s",
    )


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((0.83, 0.84, 0.85), "yes"),
        ((0.828, 0.853), "yes"),
        ((0.8276, 0.8534), "yes"),
        ((0.8274, 0.8536), "no"),
        ((0.80, 0.84, 0.85), "in part: 2 of 3 runs"),
        ((0.80, 0.82, 0.90), "no"),
    ],
)
def test_a_published_spread_must_hold_every_run(values: tuple[float, ...], word: str) -> None:
    assert judgement(TEST_ACCURACY, values) == word


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((0.380, 0.382, 0.385), "one figure, inside 0.370 to 0.395"),
        ((0.400, 0.401, 0.402), "one figure, outside 0.396 to 0.406"),
    ],
)
def test_one_published_figure_must_be_like_a_further_run(
    values: tuple[float, ...], word: str
) -> None:
    assert judgement(TRAINING_LOSS, values) == word


def test_a_further_run_lies_in_its_interval_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0).normal(size=(4000, 4))
    inside = [low <= line[3] <= high for line in drawn for low, high in [next_run(line[:3])]]
    low, high = stats.binom.interval(0.999, len(inside), 0.95)
    assert low <= sum(inside) <= high


def test_spread_shows_mean_lowest_and_highest() -> None:
    assert spread([3.0, 1.0, 2.6], 1) == "2.2 (1.0 to 3.0)"


def test_the_page_is_made_of_all_runs() -> None:
    runs = [fake(plan.study, seed) for plan in PLANS for seed in range(plan.seeds)]
    text = page(runs, 90.0)
    assert f"{len(PLANS)} studies, {len(runs)} runs, 1.5 minutes." in text
    for published in PUBLISHED:
        of_study = [run for run in runs if run.study == published.study]
        assert f"| {' | '.join(figure_line(published, of_study))} |" in text
    assert "| relu | 0.600 (0.600 to 0.600) | 0.250 (0.250 to 0.250) |" in text
    assert "| 0.5 (0.5 to 0.5) | 0.600 (0.600 to 0.600) |" in text, "the ratio of gradients"
    assert "nan" not in text
    assert "not installed" not in text


def test_what_lies_outside_is_named_below_the_table() -> None:
    runs = [fake(plan.study, seed) for plan in PLANS for seed in range(plan.seeds)]
    assert "dropout, test accuracy" in page(runs, 1.0).split("Not entirely inside:")[1]
    before = next(line for line in page(runs, 1.0).splitlines() if "Not entirely" in line)
    moved = [
        with_final("mlp", scores={"accuracy": 0.9}) if run.study == "mlp" else run for run in runs
    ]
    after = next(line for line in page(moved, 1.0).splitlines() if "Not entirely" in line)
    assert "MLP, test accuracy" in after
    assert "MLP, test accuracy" not in before


@pytest.mark.parametrize(("p", "finished"), [(0.5, 0), (0.01, 1)])
def test_an_activation_is_called_worse_by_p(p: float, finished: int) -> None:
    advantage = Comparison(0.01, 0.001, 0.02, p, "")
    run = with_trials(
        fake("activations"), lambda it: replace(it, advantage=advantage) if it.advantage else it
    )
    lines = {line.split(" | ")[0]: line for line in activation_part([run]).splitlines()}
    assert lines["| relu"].endswith("| 1 of 1 | 0 of 1 |")
    assert lines["| tanh"].endswith(f"| 0 of 1 | {finished} of 1 |")


def test_the_ratio_of_losses_is_that_of_squared_errors() -> None:
    run = with_final("model_selection", running_loss=0.5, scores={"rmse": 3.0})
    published = BY_NAME["polynomial of degree 20, test / training loss"]
    assert figure_line(published, [run, run])[2] == "18.00 (18.00 to 18.00)"
    assert "18.00" in degree_part([run])


def test_the_degree_chosen_is_that_of_the_winner() -> None:
    run = fake("model_selection")
    published = BY_NAME["polynomial, degree chosen"]
    chosen = [trial.setting.features for trial in run.trials if trial.is_winner]
    assert chosen == [1]
    assert figure_line(published, [run])[4] == "no"
    assert "degree 1 at seed 0" in degree_part([run])


@pytest.mark.parametrize(("p", "word"), [(0.4, "no"), (0.051, "no"), (0.04, "yes")])
def test_two_nets_are_distinguished_by_p_alone(p: float, word: str) -> None:
    advantage = Comparison(0.01, 0.001, 0.02, p, "")
    run = with_trials(
        fake("dropout"), lambda it: replace(it, advantage=advantage) if it.advantage else it
    )
    text = dropout_part([fake("mlp")], [run])
    assert f"+0.0100 [+0.0010, +0.0200] | {p:.2g} | {word} |" in text


def test_an_advantage_of_the_plain_net_counts_against_dropout() -> None:
    run = fake("dropout")
    dropped, plain = run.trials
    advantage = Comparison(0.01, -0.02, 0.04, 0.4, "")
    turned = (replace(dropped, advantage=advantage), replace(plain, advantage=None))
    text = dropout_part([fake("mlp")], [replace(run, trials=turned)])
    assert "| -0.0100 [-0.0400, +0.0200] | 0.4 | no |" in text
    assert "chosen in 0 of 1 runs" in " ".join(text.split())


def test_the_mlp_and_the_dropout_net_are_compared_fold_by_fold() -> None:
    mlp = with_trials(fake("mlp"), lambda it: replace(it, fold_scores=(0.50, 0.57, 0.68)))
    text = dropout_part([mlp], [fake("dropout")])
    differences = np.array([0.0, 0.03, 0.02])
    error = differences.std(ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    p = 2 * stats.t.sf(differences.mean() / error, 2)
    assert f"+{differences.mean():.4f} [" in text
    assert f"| {p:.2g} | no |" in text


@pytest.mark.parametrize(("p", "finished"), [(0.5, 0), (0.01, 1)])
def test_folds_tell_the_mlp_from_the_linear_model_by_p(p: float, finished: int) -> None:
    advantage = Comparison(1.0, 0.1, 2.0, p, "")
    run = with_trials(
        fake("kfold"), lambda it: replace(it, advantage=advantage) if it.advantage else it
    )
    # The linear model won: what is told apart is worse.
    assert run.winner.setting.kind.hidden_layers == 0
    assert f"better than the linear model in 0 of 1 runs, and worse in {finished}" in " ".join(
        fold_part([[run]]).split()
    )


def test_a_real_study_is_measured_at_its_seed() -> None:
    runs = [run_study("weight_decay", seed, 1) for seed in (0, 1)]
    spec = read_study(FOLDER / "weight_decay.toml")
    for run in runs:
        assert sorted(trial.setting.weight_decay for trial in run.trials) == [0.0, 3.0]
        assert [trial.is_winner for trial in run.trials].count(True) == 1
        assert {len(trial.fold_scores) for trial in run.trials} == {spec.sections.cv.folds}
        winner = run.winner
        assert winner.validation_score == min(trial.validation_score for trial in run.trials)
        assert winner.validation_score == pytest.approx(np.mean(winner.fold_scores))
        first, other = run.trials
        assert first.final is not None
        assert other.final is None
        # Without decay the part of w that no row sees stays as it was drawn, of norm 13 or 14.
        assert first.setting.weight_decay == 0.0
        assert 11 < first.final.weight_norm < 16
        assert other.weights[0] < 1
        assert set(first.final.scores) >= {"rmse", "mae", "r2"}
    assert runs[0].trials[0].fold_scores != runs[1].trials[0].fold_scores
