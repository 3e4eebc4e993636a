"""What does bfloat16 bring on this processor, and does it name the same winner?

The same cohorts of Fashion-MNIST in float32 and in bfloat16, by turns. Writes Markdown.
Run: make bench
"""

from __future__ import annotations

import argparse
import time

from benchmarks.cases import Case, cases, load_case, spec_of, work_of
from benchmarks.ratios import Ratio, ratio_of, verdict
from selection.study.setting import Precision
from selection.study.trial import TrialResult
from selection.train.device import choose_device
from selection.train.fit import Trainer

GOAL = 1.3
FORMATS: tuple[Precision, ...] = ("float32", "bfloat16")


def compare(case: Case, rounds: int) -> tuple[Ratio, list[list[float]]]:
    """Return how much faster bfloat16 is, and the values of all trials in each format."""
    spec = spec_of(case)
    work = work_of(spec, load_case(spec))
    trainers = [
        Trainer(work.folds, spec.task, spec.metric, spec.seed, choose_device("cpu"), precision=name)
        for name in FORMATS
    ]
    rates: list[list[float]] = [[], []]
    values: list[list[float]] = [[], []]
    for _ in range(rounds):
        for index, trainer in enumerate(trainers):
            begun = time.perf_counter()
            results = trainer.train(work.settings)
            rates[index].append(1.0 / (time.perf_counter() - begun))
            values[index] = [_value(result) for result in results]
    return ratio_of(rates[1], rates[0]), values


def _value(result: TrialResult) -> float:
    assert result.value is not None, result.reason
    return result.value


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small cases and one round")
    is_quick = parser.parse_args().quick
    rounds = 1 if is_quick else 3
    print(f"""
## bfloat16

`make bench`: the engine on the same cohorts in float32 and in bfloat16, by turns; medians of
{rounds} rounds. The winner is the trial with the best mean over folds; where it is another one, the
loss says by how much less the float32 score of bfloat16's winner is than that of the best.

| case | ratio | goal | winner | loss |
| --- | ---: | --- | --- | ---: |""")
    images = [case for case in cases(is_quick=is_quick) if case.dataset == "fashion_mnist"]
    for case in images:
        ratio, (exact, rounded) = compare(case, rounds)
        best, chosen = (each.index(max(each)) for each in (exact, rounded))
        winner = "the same" if best == chosen else f"trial {chosen} for trial {best}"
        loss = exact[best] - exact[chosen]
        goal = f"{GOAL}: {verdict(ratio.median, GOAL)}"
        print(f"| {case.name} | {ratio} | {goal} | {winner} | {loss:.4f} |", flush=True)


if __name__ == "__main__":
    main()
