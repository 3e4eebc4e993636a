"""The peers of the benchmark train what they say, and learn what we learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest

from benchmarks.cases import FULL, Work, part_of
from benchmarks.ours import Ours
from benchmarks.peers import PEERS, Outcome, Peer, optuna_resident, optuna_with_loader
from benchmarks.quality import pruned_between_folds
from benchmarks.ratios import Ratio, ratio_of, training_operations, verdict

CHANCE = 0.1


@pytest.fixture(scope="module")
def ours() -> Ours:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return Ours(replace(FULL[0], trials=2))


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.letter)
def test_a_peer_trains_all_it_says_and_learns(ours: Ours, peer: Peer) -> None:
    if not peer.is_installed:
        pytest.skip(f"{peer.package} is in the extra bench")
    work = part_of(ours.work, 1, 4)
    outcome = peer.run(work)
    assert outcome.member_epochs == 5 * 4
    assert outcome.seconds > 0
    assert outcome.score > 3 * CHANCE


@pytest.mark.slow
@pytest.mark.parametrize("run", [optuna_with_loader, optuna_resident])
def test_loops_of_users_learn_what_ours_learns(ours: Ours, run: Callable[[Work], Outcome]) -> None:
    assert run(ours.work).score == pytest.approx(ours.engine().score, abs=0.02)


def test_a_sweep_scores_what_the_engine_scores(ours: Ours) -> None:
    assert ours.sweep().score == ours.engine().score
    assert ours.sweep().member_epochs == ours.work.member_epochs


def test_pruning_between_folds_trains_no_more_than_everything(ours: Ours) -> None:
    work = part_of(ours.work, 2, 1)
    sweep = pruned_between_folds(work)
    assert 0 < sweep.outcome.member_epochs <= work.member_epochs
    assert sweep.choice in (0, 1)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio_of([10.0, 30.0, 40.0], [10.0, 10.0, 20.0]) == Ratio(2.0, 1.0, 3.0)
    assert str(Ratio(2.0, 1.0, 3.0)) == "2.0 (1.0 to 3.0)"
    assert str(Ratio(2.0, 2.0, 2.0)) == "2.0"


def test_a_goal_is_met_or_missed_by_a_factor() -> None:
    assert verdict(30.0, 30.0) == "met"
    assert verdict(20.0, 30.0) == "missed by 1.50x"


def test_operations_of_training_leave_the_gradient_of_inputs_out() -> None:
    assert training_operations([4, 3, 2], 10) == 10 * (6 * (12 + 6) - 2 * 12)
