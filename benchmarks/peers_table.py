"""How fast is the packed engine beside what users train with today? Equal work, by turns.

Every round trains ours, then each peer, on the same rows, folds, widths, batches and rates, without
pruning; what is compared is member-epochs per second. Writes Markdown.
Run: make bench
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import torch

from benchmarks.cases import Case, cases, load_case, part_of, spec_of, work_of
from benchmarks.machine import where_it_ran
from benchmarks.ours import Ours
from benchmarks.peers import PEERS, Outcome, calibrated
from benchmarks.ratios import Ratio, ratio_of, training_operations, verdict
from selection.study.spec import parse_study
from selection.train.device import choose_device
from selection.train.fit import Trainer
from selection.train.pack import Pack
from selection.train.plan import plan_packs

GEMM_GOAL = 0.8
GEMM_SIZE, GEMM_TIMES = 2048, 4
# Trials and folds.
SCALES = ((1, 1), (1, 5), (4, 5), (16, 3), (16, 5), (16, 10), (64, 3), (64, 5))


@dataclass(frozen=True)
class Row:
    """Hold what one case took. threads is what each peer ran at."""

    case: Case
    engine: float
    sweep: float
    ratios: dict[str, Ratio]
    threads: dict[str, int]
    scores: dict[str, float]


def compare(case: Case, rounds: int, cores: int) -> Row:
    """Time ours and all peers, round by round; the first run of each is not timed."""
    ours = Ours(case)
    ours.engine()
    part = part_of(ours.work, case.peer_trials, case.peer_epochs)
    present = [peer for peer in PEERS if peer.is_installed]
    threads = {peer.letter: calibrated(peer, ours.work, cores) for peer in present}
    engine, sweep = [], []
    peers: dict[str, list[Outcome]] = {peer.letter: [] for peer in present}
    for _ in range(rounds):
        engine.append(ours.engine())
        sweep.append(ours.sweep())
        for peer in present:
            torch.set_num_threads(threads[peer.letter])
            peers[peer.letter].append(peer.run(part))
        torch.set_num_threads(1)
    rates = [outcome.rate for outcome in sweep]
    scores = {letter: outcomes[-1].score for letter, outcomes in peers.items()}
    print(case.name, file=sys.stderr)
    return Row(
        case,
        statistics.median(outcome.rate for outcome in engine),
        statistics.median(rates),
        {
            letter: ratio_of(rates, [outcome.rate for outcome in outcomes])
            for letter, outcomes in peers.items()
        },
        threads,
        scores | {"ours": sweep[-1].score},
    )


def gemm_rate(cores: int) -> float:
    """Return the operations per second of large products, one thread on every core at once."""
    torch.set_num_threads(1)
    left = torch.randn(GEMM_SIZE, GEMM_SIZE)

    def multiply(_: int) -> None:
        out = torch.empty_like(left)
        for _ in range(GEMM_TIMES):
            torch.mm(left, left, out=out)

    with ThreadPoolExecutor(cores) as workers:
        list(workers.map(multiply, range(cores)))
        begun = time.perf_counter()
        list(workers.map(multiply, range(cores)))
        seconds = time.perf_counter() - begun
    return 2.0 * GEMM_SIZE**3 * GEMM_TIMES * cores / seconds


def step_rate(ours: Ours, cores: int) -> float:
    """Return the operations per second that training needs, in as many packs as there are cores."""
    trainer, settings = ours.trainer, ours.work.settings
    torch.set_num_threads(1)
    plans = plan_packs(settings, trainer.rows, cores=cores)[:cores]
    packs = [Pack(plan, settings, trainer.rows, trainer.metric, trainer.seed) for plan in plans]
    operations = 0.0
    for plan in plans:
        for fold in plan.folds:
            data = trainer.rows.folds[fold]
            for trial in plan.trials:
                sizes = [data.features.shape[1], *settings[trial].widths, data.classes]
                operations += training_operations(sizes, len(data.training))
    with ThreadPoolExecutor(cores) as workers:
        list(workers.map(Pack.train_epoch, packs))
        begun = time.perf_counter()
        list(workers.map(Pack.train_epoch, packs))
        return operations / (time.perf_counter() - begun)


def gemm_share(case: Case, rounds: int, cores: int) -> tuple[float, Ratio]:
    """Return the machine's own rate, and the share of it that training reaches, by turns."""
    ours = Ours(case)
    pairs = [(gemm_rate(cores), step_rate(ours, cores)) for _ in range(rounds)]
    machine = [pair[0] for pair in pairs]
    return statistics.median(machine), ratio_of([pair[1] for pair in pairs], machine)


def peak_megabytes(side: str, number: int, *, is_quick: bool) -> float:
    """Return by how much training grows a fresh process."""
    words = ["-m", "benchmarks.peak_memory", side, str(number), *["--quick"] * is_quick]
    command = [sys.executable, *words]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    return float(done.stdout)


def scaled_rate(case: Case, trials: int, folds: int) -> float:
    """Return the member-epochs per second of so many trials and folds."""
    content = spec_of(replace(case, trials=trials)).to_json()
    content["cv"]["folds"] = max(folds, 2)
    content = {name: section for name, section in content.items() if section is not None}
    spec = parse_study(content, case.name)
    work = work_of(spec, load_case(spec))
    trainer = Trainer(work.folds[:folds], spec.task, spec.metric, spec.seed, choose_device("cpu"))
    trainer.train(work.settings[:1])
    begun = time.perf_counter()
    trainer.train(work.settings)
    return trials * folds * case.epochs / (time.perf_counter() - begun)


def _print_peers(rows: list[Row], rounds: int, cores: int) -> None:
    print("\n## Beside what users train with today\n")
    print(
        "`make bench`: the same rows, folds, widths, batches, epochs and rates, no pruning; each "
        f"round trains ours, then each peer.\nMember-epochs per second and medians of {rounds} "
        "rounds. Ratios are of our whole sweep, with sampler and SQLite; *engine* is\ntraining "
        "alone.\n"
    )
    for peer in PEERS:
        absent = "" if peer.is_installed else "; not installed"
        print(f"- ({peer.letter}) {peer.name}{absent}")
    print(
        "\nOnly ours, (a) and (b) score all validation rows after every epoch. (c) has no dropout: "
        "a star marks where it has less\nto do. (e) is not equal work: Adam, one setting, its own "
        "initial weights and preparation, and it keeps its best epoch.\n"
    )
    print(where_it_ran("torch", "optuna", "scikit-learn", "skorch", "pytabkit"))
    print(f"Ours trains packs on {cores} threads.\n")
    letters = [peer.letter for peer in PEERS]
    print("| case | engine | sweep | " + " | ".join(f"/ ({x})" for x in letters) + " | goals |")
    print("| --- | ---: | ---: |" + " ---: |" * len(letters) + " --- |")
    for row in rows:
        cells = []
        for peer in PEERS:
            star = "*" if row.case.has_dropout and not peer.has_dropout else ""
            cells.append(f"{row.ratios.get(peer.letter, '-')}{star}")
        goals = [
            f"({letter}) {goal:g}: {verdict(row.ratios[letter].median, goal)}"
            for letter, goal in row.case.goals.items()
        ]
        print(
            f"| {row.case.name} | {row.engine:.0f} | {row.sweep:.0f} | "
            + " | ".join(cells)
            + f" | {'; '.join(goals)} |"
        )
    print("\nThreads of torch that each peer is faster with, and best mean validation accuracy:\n")
    print("| case | ours | " + " | ".join(f"({x})" for x in letters) + " |")
    print("| --- | ---: |" + " ---: |" * len(letters))
    for row in rows:
        cells = [
            f"{row.threads[x]}, {row.scores[x]:.3f}" if x in row.threads else "-" for x in letters
        ]
        print(f"| {row.case.name} | {row.scores['ours']:.3f} | " + " | ".join(cells) + " |")
    print(
        "\nPeers train fewer settings, and some fewer epochs, than ours: their accuracies are "
        "lower for it. Goals are for full sizes."
    )


def _print_gemm(chosen: list[Case], rounds: int, cores: int) -> None:
    print("\n### Share of the machine's own rate\n")
    print(
        f"Operations that training needs, per second of training steps, beside `torch.mm` of "
        f"{GEMM_SIZE} x {GEMM_SIZE} float32 on\n{cores} threads of one core each, by turns. Packs "
        f"as the trainer runs them, {cores} side by side.\n"
    )
    print("| case | torch.mm, GFLOP/s | share | range | goal |")
    print("| --- | ---: | ---: | :---: | --- |")
    for case in chosen:
        machine, share = gemm_share(case, rounds, cores)
        print(
            f"| {case.name} | {machine / 1e9:.0f} | {share.median:.2f} | {share.low:.2f} to "
            f"{share.high:.2f} | {GEMM_GOAL}: {verdict(share.median, GEMM_GOAL)} |"
        )


def _print_memory(chosen: tuple[Case, ...], numbers: list[int], *, is_quick: bool) -> None:
    print("\n### Memory\n")
    print("MiB by which training grows a fresh process that has loaded its rows.\n")
    print("| case | ours | members | (a) |")
    print("| --- | ---: | ---: | ---: |")
    for number in numbers:
        case = chosen[number]
        ours, theirs = (peak_megabytes(side, number, is_quick=is_quick) for side in ("ours", "a"))
        print(f"| {case.name} | {ours:.0f} | {case.trials * 5} | {theirs:.0f} |")


def _print_scaling(case: Case, scales: Sequence[tuple[int, int]]) -> None:
    print("\n### Scaling\n")
    print(f"Member-epochs per second of the engine; {case.name}.\n")
    print("| trials | folds | members | member-epochs per second |")
    print("| ---: | ---: | ---: | ---: |")
    for trials, folds in scales:
        rate = scaled_rate(case, trials, folds)
        print(f"| {trials} | {folds} | {trials * folds} | {rate:.0f} |", flush=True)


def main() -> None:
    """Print all sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small cases and one round")
    is_quick = parser.parse_args().quick
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rounds, cores = 1 if is_quick else 3, torch.get_num_threads()
    os.environ["PYTHONWARNINGS"] = "ignore"  # those of other packages, in their worker processes
    chosen = cases(is_quick=is_quick)
    _print_peers([compare(case, rounds, cores) for case in chosen], rounds, cores)
    images = [case for case in chosen if case.dataset == "fashion_mnist"]
    _print_gemm(images[:2] if is_quick else images, 3, cores)
    _print_memory(chosen, [1] if is_quick else [1, 3], is_quick=is_quick)
    _print_scaling(chosen[1], SCALES[::3] if is_quick else SCALES)


if __name__ == "__main__":
    main()
