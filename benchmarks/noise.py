"""Does the verdict stay honest where there is nothing to find? Whole studies on pure-noise labels.

Each study: 100 development rows, 10 features, labels drawn without regard to them, 30 trials, 5
folds; once without pruning and once with the default pruner. Chance is 0.5. Writes Markdown.
Run: python -m benchmarks.noise > docs/noise.md
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import selection
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import TrialState
from selection.workflows.assess import Assessment, Correction

ROWS, HELD_OUT, FEATURES, TRIALS, FOLDS, CHANCE = 100, 100, 10, 30, 5, 0.5


@dataclass(frozen=True)
class NoiseResult:
    """Hold the verdict on one study of noise."""

    seed: int
    observed: float
    correction: Correction | None
    complete: int
    claims: int

    @property
    def contains_chance(self) -> bool:
        """Say whether the corrected interval contains chance; without one nothing is said."""
        return self.correction is None or self.correction.low <= CHANCE <= self.correction.high


def noise_results(seeds: int, pruner: str) -> Iterator[NoiseResult]:
    """Run one study per seed."""
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            assessment = _assess(_spec(seed, pruner, Path(folder)), Path(folder))
        assert assessment.winner is not None
        assert assessment.winner.value is not None
        claims = [baseline.is_beaten for baseline in assessment.baselines.values()]
        yield NoiseResult(
            seed,
            assessment.winner.value,
            assessment.correction,
            sum(trial.state is TrialState.COMPLETE for trial in assessment.trials),
            sum(claims),
        )


def _spec(seed: int, pruner: str, folder: Path) -> StudySpec:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(ROWS + HELD_OUT, FEATURES))
    # Half of the development rows of each class, so that the majority class is at chance too.
    labels = np.concatenate(
        [generator.permutation(np.arange(count) % 2) for count in (ROWS, HELD_OUT)]
    )
    names = ",".join(f"x{index}" for index in range(FEATURES))
    lines = [
        f"{','.join(map(str, row))},{label},{int(index >= ROWS)}"
        for index, (row, label) in enumerate(zip(features, labels, strict=True))
    ]
    table = folder / "noise.csv"
    table.write_text("\n".join([f"{names},y,held_out", *lines]))
    return parse_study(
        {
            "name": f"noise-{seed}",
            "seed": seed,
            "data": {
                "path": str(table),
                "target": "y",
                "held_out": {"column": "held_out", "value": 1},
            },
            "cv": {"folds": FOLDS},
            "training": {"epochs": 20, "batch_size": 16},
            "space": {
                "width": {"low": 4, "high": 64, "log": True},
                "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
                "dropout": {"low": 0.0, "high": 0.5},
                "learning_rate": {"low": 0.01, "high": 1.0, "log": True},
            },
            "search": {"trials": TRIALS, "cohort": 10, "pruner": pruner},
        },
        "noise",
    )


def _assess(spec: StudySpec, folder: Path) -> Assessment:
    storage = f"sqlite:///{folder}/s.db"
    return selection.run(spec, storage=storage, device="cpu", progress=False).assess()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    print("# The assessment of pure noise\n")
    print(
        f"`python -m benchmarks.noise --seeds {seeds}`: {ROWS} development rows, {FEATURES} "
        f"features, labels drawn\nindependently of them, {TRIALS} trials, {FOLDS} folds. Chance "
        f'is {CHANCE}. A claim is "better than the baseline", of three baselines.'
    )
    for pruner in ("none", "successive_halving"):
        _print_table(pruner, list(noise_results(seeds, pruner)))


def _print_table(pruner: str, results: list[NoiseResult]) -> None:
    print(f"\n## Pruner: {pruner}\n")
    print("| seed | complete | observed | corrected | interval (95%) | contains chance | claims |")
    print("| ---: | ---: | ---: | ---: | :---: | :---: | ---: |")
    for result in results:
        corrected, interval, holds = "none", "", ""
        if result.correction is not None:
            corrected = f"{result.correction.estimate:.3f}"
            interval = f"{result.correction.low:.3f} to {result.correction.high:.3f}"
            holds = "yes" if result.contains_chance else "no"
        print(
            f"| {result.seed} | {result.complete} | {result.observed:.3f} | {corrected} "
            f"| {interval} | {holds} | {result.claims} |"
        )
    corrections = [result.correction for result in results if result.correction is not None]
    observed = np.mean([result.observed for result in results])
    estimate = np.mean([correction.estimate for correction in corrections])
    containing = sum(correction.low <= CHANCE <= correction.high for correction in corrections)
    claiming = sum(result.claims > 0 for result in results)
    print(
        f"\nMean observed score of the winner: {observed:.3f}. Mean corrected estimate: "
        f"{estimate:.3f}, over {len(corrections)} studies.\nThe corrected interval contains chance "
        f"in {containing} of them; a claim is made in {claiming} of {len(results)}."
    )


if __name__ == "__main__":
    main()
