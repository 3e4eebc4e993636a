"""What a trial takes in the database: its predictions at rungs beside those at its end.

Encodes what a study stores of 48,000 rows x 10 classes in 5 folds. Writes Markdown. Run: make bench
"""

from __future__ import annotations

import argparse

import numpy as np

from selection.metrics import METRICS
from selection.stats.scores import compact, reduce_outputs
from selection.store.codec import encode_outputs
from selection.store.rung_codec import encode_rungs
from selection.study.fields import AssessmentSection

ROWS, CLASSES, FOLDS, RUNGS = 48_000, 10, 5, 2
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "cross_entropy", "roc_auc", "rmse")


def main() -> None:
    """Print one line for each metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="does nothing: this is quick")
    parser.parse_args()
    most = AssessmentSection().kept_rungs
    print(f"""
## Bytes of a trial's predictions

`make bench`: {ROWS:,} rows, {CLASSES} classes (one output for the RMSE), {FOLDS} folds. A complete
trial keeps its outputs, which pages and exports read; every trial keeps what its metric needs at
the rungs where it was judged, for the corrected estimate. `[assessment] kept_rungs` bounds their
number, {most} unless it says fewer; successive halving of the Fashion-MNIST study has {RUNGS}.

| metric | one rung | {RUNGS} rungs | {most} rungs | per row and rung | outputs at the end |
| --- | ---: | ---: | ---: | ---: | ---: |""")
    for metric in SHOWN:
        one, outputs = _sizes(metric)
        cells = [f"{times * one:,}" for times in (1, RUNGS, most)]
        print(f"| {metric} | {' | '.join(cells)} | {one / ROWS:.3g} | {outputs:,} |")


def _sizes(metric: str) -> tuple[int, int]:
    """Return the bytes of one rung, and of the outputs of a complete trial, over all folds."""
    generator = np.random.default_rng(0)
    is_regression = METRICS[metric].task == "regression"
    rung, end = 0, 0
    for _ in range(FOLDS):
        rows = ROWS // FOLDS
        outputs = generator.normal(size=(rows, 1 if is_regression else CLASSES))
        outputs = outputs if is_regression else outputs.astype(np.float32)
        targets = generator.integers(0, CLASSES, rows)
        kept = compact(metric, reduce_outputs(metric, outputs, targets))
        rung += len(encode_rungs({1: kept}))
        end += len(encode_outputs(outputs))
    return rung, end


if __name__ == "__main__":
    main()
