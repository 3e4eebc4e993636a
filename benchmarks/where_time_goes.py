"""Where does an epoch of one pack spend its time, on one core? Writes Markdown. Run: make bench"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cases import Case, cases, load_case, spec_of, work_of
from selection.train.device import choose_device
from selection.train.fit import Trainer
from selection.train.pack import Pack
from selection.train.plan import plan_packs

RUNS = 5
GROUPS = {
    "matrix products": ("baddbmm", "baddbmm_", "bmm", "addmm"),
    "softmax and loss": ("_softmax", "_log_softmax", "gather", "amax", "sub_"),
    "gathering rows": ("index_select", "index", "randperm"),
    "copies": ("copy_", "cat", "stack"),
}


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Return the share of each group of operators in the time of a run, and what lies outside."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        begun = time.perf_counter()
        for _ in range(RUNS):
            run()
        seconds = time.perf_counter() - begun
    by_group = dict.fromkeys([*GROUPS, "other element-wise work"], 0.0)
    for event in profiled.key_averages():
        name = event.key.removeprefix("aten::")
        group = next((g for g, names in GROUPS.items() if name in names), None)
        by_group[group or "other element-wise work"] += event.self_cpu_time_total / 1e6
    found = {group: spent / seconds for group, spent in by_group.items()}
    return found | {"calls from Python": 1.0 - sum(found.values())}


def pack_of(case: Case) -> Pack:
    """Return the first pack of a case as the trainer cuts it for two cores."""
    spec = spec_of(case)
    work = work_of(spec, load_case(spec))
    trainer = Trainer(work.folds, spec.task, spec.metric, spec.seed, choose_device("cpu"))
    plan = plan_packs(work.settings, trainer.rows, cores=2)[0]
    return Pack(plan, work.settings, trainer.rows, trainer.metric, trainer.seed)


def main() -> None:
    """Print one line for each case and part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small cases")
    chosen = cases(is_quick=parser.parse_args().quick)
    torch.set_num_threads(1)
    print("""
## Where the time goes

`make bench`: shares of the time of one pack on one core, by torch's profiler; what it does not
see is called Python, its own work included. Scoring comes after every epoch.
""")
    rows = []
    for case in chosen[:4]:
        pack = pack_of(case)
        pack.train_epoch()
        rows.append((f"{case.name}: training", shares(pack.train_epoch)))

        def both(pack: Pack = pack) -> None:
            pack.train_epoch()
            pack.evaluate()

        rows.append((f"{case.name}: training and scoring", shares(both)))
    names = list(rows[0][1])
    print("| case | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(names))
    for label, found in rows:
        print(f"| {label} | " + " | ".join(f"{100 * found[name]:.0f}%" for name in names) + " |")


if __name__ == "__main__":
    main()
