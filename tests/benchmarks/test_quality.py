"""The table of the time to quality: means and spreads over seeds."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.cases import FULL, spec_of
from benchmarks.peers import Outcome
from benchmarks.quality import Round, Sweep, table


def test_each_sweep_has_its_mean_its_spread_and_what_its_choice_loses() -> None:
    full = Sweep(Outcome(1080, 30.0, 0.80), 1)
    scores = (0.79, 0.80, 0.76)
    rounds = [
        Round(scores, full, Sweep(Outcome(300, 10.0, 0.79), 0), Sweep(Outcome(600, 50, 0.82), 2)),
        Round(scores, full, Sweep(Outcome(340, 12.0, 0.80), 1), Sweep(Outcome(600, 54, 0.83), 1)),
    ]
    assert table(rounds) == [
        "| ours, no pruning | 30.0 ± 0.0 | 1,080 ± 0 | 0.8000 ± 0.0000 | 0.0000 ± 0.0000 |",
        "| ours | 11.0 ± 1.4 | 320 ± 28 | 0.7950 ± 0.0071 | 0.0050 ± 0.0071 |",
        "| (a) | 52.0 ± 2.8 | 600 ± 0 | 0.8250 ± 0.0071 | 0.0200 ± 0.0283 |",
    ]
    assert table(rounds[:1])[1] == "| ours | 10.0 | 300 | 0.7900 | 0.0100 |"


def test_each_seed_is_another_study() -> None:
    seeds = [spec_of(replace(FULL[0], seed=seed)).seed for seed in (0, 1)]
    assert seeds == [0, 1]
