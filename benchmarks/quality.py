"""How long until a sweep has the quality of its full trials, where bad settings are pruned?

The same settings on both sides. Ours prunes across folds after every epoch; a user's serial loop
can only prune between folds, by the running mean, with Optuna's median pruner. Writes Markdown.
Run: make bench
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import optuna
import torch

from benchmarks.cases import FULL, Case, Work, spec_of
from benchmarks.machine import where_it_ran
from benchmarks.ours import Ours
from benchmarks.peers import PEERS, Outcome, calibrated, train_with_loader
from benchmarks.ratios import verdict

TRIALS, EPOCHS, GOAL = 24, 9, 10.0
PRUNER_OPTIONS = {"min_resource": 1, "reduction_factor": 3}


def pruned_between_folds(work: Work) -> Outcome:
    """Train fold after fold, and let Optuna's median pruner end a setting between them."""
    settings = iter(work.settings)
    member_epochs = 0

    def objective(trial: optuna.Trial) -> float:
        nonlocal member_epochs
        setting = next(settings)
        trial.suggest_float("learning_rate", 1e-4, 10.0, log=True)
        scores: list[float] = []
        for index, fold in enumerate(work.folds):
            scores.append(train_with_loader(setting, fold))
            member_epochs += setting.kind.epochs
            trial.report(statistics.fmean(scores), index)
            if trial.should_prune():
                raise optuna.TrialPruned
        return statistics.fmean(scores)

    torch.manual_seed(0)
    begun = time.perf_counter()
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
    for setting in work.settings:
        study.enqueue_trial({"learning_rate": setting.learning_rate})
    study.optimize(objective, n_trials=len(work.settings))
    return Outcome(member_epochs, time.perf_counter() - begun, study.best_value)


def _case(*, is_quick: bool) -> Case:
    if is_quick:
        return replace(FULL[1], trials=TRIALS // 2, epochs=EPOCHS // 3)
    return replace(FULL[3], held_out=0.9, trials=TRIALS, epochs=EPOCHS)


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="digits, which have no goal")
    is_quick = parser.parse_args().quick
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    case = _case(is_quick=is_quick)
    cores = torch.get_num_threads()
    ours = Ours(case)
    full = ours.sweep()
    spec = spec_of(case, pruner="successive_halving", pruner_options=PRUNER_OPTIONS)
    pruned = ours.sweep(spec)
    threads = calibrated(PEERS[0], ours.work, cores)
    torch.set_num_threads(threads)
    theirs = pruned_between_folds(ours.work)
    ratio = theirs.seconds / pruned.seconds
    rows = len(ours.data.dataset)
    goal = "" if is_quick else f"; goal {GOAL:g}: {verdict(ratio, GOAL)}"
    print("\n## Time to the quality of full trials\n")
    print(
        f"`make bench`: {case.name}, {rows:,} rows, 5 folds, {case.epochs} epochs, the same "
        f"{case.trials} settings\nby random search on each side. Ours is the whole sweep with "
        "SQLite, and prunes by successive halving across folds;\n(a) is Optuna and a DataLoader "
        "loop that reports the running mean after each fold to the median pruner,\non "
        f"{threads} of {cores} threads, whichever of one and all is faster. One run each.\n"
    )
    print(where_it_ran("torch", "optuna") + "\n")
    print("| sweep | seconds | member-epochs | best mean validation accuracy |")
    print("| --- | ---: | ---: | ---: |")
    for name, found in (("ours, no pruning", full), ("ours", pruned), ("(a)", theirs)):
        print(f"| {name} | {found.seconds:.1f} | {found.member_epochs:,} | {found.score:.4f} |")
    print(f"\nRatio of (a) to ours: {ratio:.1f}{goal}.")


if __name__ == "__main__":
    main()
