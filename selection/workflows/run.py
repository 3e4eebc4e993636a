"""What `selection run` does to a study: the sweep, then all that its verdict rests on.

Each part is skipped where the record has it, so a killed study goes on with the part it was in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from selection.store.repository import Repository
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.store.trial_reader import ENDINGS
from selection.study.baselines import constant_name, wanted_baselines
from selection.study.spec import StudySpec
from selection.train.device import Device
from selection.workflows.baselines import score_baseline
from selection.workflows.nested_cv import score_procedure
from selection.workflows.study_data import StudyData


def run_procedure(
    spec: StudySpec,
    study: StudyRecord,
    data: StudyData,
    repository: Repository,
    device: Device,
    say: Callable[[str], None],
    sweep: Callable[[], None],
) -> None:
    """Sweep, then train the baselines, and the outer folds if the study asks for them.

    sweep trains the trials, and the pruned ones that are to be audited. A study whose held-out set
    was opened takes no more trials.
    """
    if not repository.ledger.evaluations(study):
        sweep()
    _add_baselines(spec, study, data, repository, say)
    # Outer folds run the whole budget: they would speak of another procedure than one cut short.
    is_cut = any(
        trial.reason in ENDINGS for trial in repository.records.trials(study, with_curves=False)
    )
    if spec.sections.assessment.nested and not is_cut:
        score_procedure(spec, data, study, repository.evidence, device, say)


def _add_baselines(
    spec: StudySpec,
    study: StudyRecord,
    data: StudyData,
    repository: Repository,
    say: Callable[[str], None],
) -> None:
    """Train the baselines that the record does not have yet, one after the other."""
    kept = {fold.name for fold in repository.evidence.baselines(study)}
    asked = spec.sections.assessment.baselines
    wanted, left_out = wanted_baselines(asked, spec.task, data.facts)
    for name in wanted:
        if name in kept:
            continue
        if name != constant_name(spec.task):
            say(f"baselines: training {name} on the same folds")
        folds = score_baseline(name, spec, data)
        retry(partial(repository.evidence.keep_baselines, study, folds), say)
        if not folds:
            say(f"baselines: {name} is left out: some fold gives it no score")
        elif folds[0].note:
            mean = sum(fold.score for fold in folds) / len(folds)
            say(f"baselines: {name} {spec.metric} {mean:.4f} ({folds[0].note})")
    for name, why in left_out.items():
        if name not in kept:
            say(f"baselines: {name} is left out: {why}")
