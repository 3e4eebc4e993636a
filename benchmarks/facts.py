"""What a record says of rows that a benchmark of bookkeeping never loads."""

from __future__ import annotations

from selection.study.data_facts import DataFacts

DATA_FACTS = DataFacts(
    rows=0,
    held_out_rows=0,
    features=0,
    inputs=0,
    outputs=1,
    class_counts={},
    fold_kind="kfold",
    folds=(),
    duplicate_rows=0,
    warnings=(),
)
