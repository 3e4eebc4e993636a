"""MODEL_CARD.md: what a model is, what it scored, and how often its held-out set was opened.

Every number says whether it is observed, corrected or held out.
Source: Mitchell et al. (2019), "Model cards for model reporting".
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from selection.report.cells import mean, show_interval, show_share, show_value
from selection.report.course import change_line, departure_lines
from selection.report.terminal.readable import readable
from selection.report.values import held_out_value
from selection.report.verdict import (
    as_expected,
    baseline_interval,
    bound_of,
    choice_of,
    openings,
    seeds_text,
)
from selection.report.warnings import study_warnings
from selection.stats.selection_rules import RULES
from selection.store.ledger import Evaluation
from selection.study.ensemble import Ensemble, counts_of, trials_of, weights_of
from selection.study.held_out_result import HeldOutResult
from selection.study.schedules import DEFAULT_SCHEDULE
from selection.study.setting import ClassWeights
from selection.study.trial import Trial
from selection.workflows.assess import Assessment


def model_card(assessment: Assessment, trial: Trial, document: Mapping[str, Any] | None) -> str:
    """Return the card of one trial; document is the final model's, if one is exported."""
    study, spec = assessment.study, assessment.spec
    sections = [
        card_title(study.name, trial.number, counts_of(trial)),
        f"{_what(trial)} for {spec.task}, chosen from {_finished(assessment)} by the rule "
        f"`{assessment.rule}` ({RULES[assessment.rule]}).",
        *_warnings(assessment),
        *_settings(assessment, trial),
        "## Scores",
        _table(["score", spec.metric, "interval", "what it is"], _score_rows(assessment, trial)),
        *_baseline_section(assessment),
        "## Evaluations of the held-out set",
        _ledger(assessment),
        *_changes(assessment),
        *_details(assessment, trial),
        "## Data",
        _table(["fact", "value"], _data_rows(assessment)),
    ]
    if document is not None:
        sections += ["## Model", _table(["fact", "value"], _model_rows(document))]
    return "\n\n".join(sections) + "\n"


def card_title(study: str, number: int, counts: Mapping[int, int] | None = None) -> str:
    """Return the first line of a card, by which it says of which trials it is."""
    if counts is None:
        return f"# {_text(study)}: trial {number}"
    named = [f"{each} x{count}" if count > 1 else str(each) for each, count in counts.items()]
    return f"# {_text(study)}: the ensemble of trials {', '.join(named)}"


def _what(trial: Trial) -> str:
    count = len(trials_of(trial))
    return "An MLP" if count == 1 else f"The mean prediction of {count} MLP settings"


def _settings(assessment: Assessment, trial: Trial) -> list[str]:
    if not isinstance(trial, Ensemble):
        rows = _setting_rows(assessment, trial)
        return ["## Setting", _table(["hyperparameter", "value"], rows)]
    weights = weights_of(trial.counts)
    names = list(assessment.spec.space)
    lines = [
        [
            str(own.number),
            f"{weights[own.number]:.2f}",
            *(show_value(own.params[name]) for name in names),
        ]
        for own in trials_of(trial)
    ]
    return ["## Settings", _table(["trial", "weight", *names], lines)]


def _warnings(assessment: Assessment) -> list[str]:
    lines = [f"- **Warning:** {_text(each.text)}" for each in study_warnings(assessment)]
    return ["\n".join(lines)] if lines else []


def _finished(assessment: Assessment) -> str:
    count = sum(trial.state.is_finished for trial in assessment.trials)
    left = "" if assessment.is_finished else f" so far, of {assessment.spec.budget}"
    return f"{count} trials{left}"


def _setting_rows(assessment: Assessment, trial: Trial) -> list[list[str]]:
    setting = assessment.spec.setting(trial.params)
    kind = setting.kind
    betas = () if kind.optimizer == "sgd" else (setting.beta1, setting.beta2)
    rows = [
        ["hidden layers", " ".join(map(str, setting.widths)) or "none (linear)"],
        ["activation", f"{'parametric ' * kind.parametric_activation}{kind.activation}"],
        ["input scaling", "learned" if kind.input_scaling else ""],
        ["dropout", " ".join(map(show_value, setting.dropout)) or "none"],
        ["optimizer", kind.optimizer],
        ["learning rate", show_value(setting.learning_rate)],
        ["schedule of the learning rate", setting.schedule],
        ["warm-up", show_value(setting.warmup)],
        ["weight decay", show_value(setting.weight_decay)],
        ["l2", show_value(setting.l2)],
        ["schedule of the weight decay", setting.weight_decay_schedule],
        ["schedule of the dropout", setting.dropout_schedule],
        ["momentum", show_value(setting.momentum)],
        ["betas", " ".join(map(show_value, betas))],
        ["clip norm", show_value(setting.clip_norm)],
        ["batch size", str(kind.batch_size)],
        ["epochs", str(kind.epochs)],
        ["init", kind.init],
        ["label smoothing", show_value(setting.label_smoothing)],
        ["class weights", _class_weights(setting.class_weights)],
    ]
    return [row for row in rows if row[1] not in ("", "0", DEFAULT_SCHEDULE)]


def _class_weights(weights: ClassWeights) -> str:
    if isinstance(weights, str):
        return "" if weights == "none" else weights
    return ", ".join(f"{name} {show_value(weight)}" for name, weight in weights)


def _score_rows(assessment: Assessment, trial: Trial) -> list[list[str]]:
    correction = assessment.correction
    error = trial.standard_error
    rows = [
        ["not corrected", "", "", assessment.why_uncorrected]
        if correction is None
        else [
            "corrected",
            f"{correction.estimate:.4f}",
            show_interval(correction.low, correction.high, correction.level),
            "the observed score without its optimism, by BBC-CV, for "
            f"{choice_of(correction)}; {bound_of(assessment, correction)}",
        ],
        [
            "observed",
            f"{trial.value:.4f}",
            "" if error is None else f"+- {error:.4f} (standard error)",
            f"mean over {len(trial.fold_scores)} folds; optimistic, because it chose the winner",
        ],
    ]
    outer = [fold.score for fold in assessment.nested]
    if outer:
        what = f"mean of the whole procedure over {len(outer)} outer folds, which it never saw"
        rows.append(["nested", f"{mean(outer):.4f}", "", what])
    result = _newest(assessment.evaluations, trial)
    if result is not None:
        rows.append(
            [
                "held out",
                f"{result.score:.4f}",
                show_interval(result.low, result.high, result.level),
                f"on {result.rows} rows{as_expected(result)}; the interval beside the score covers "
                "the sampling of these rows only",
            ]
        )
        if len(result.seeds) > 1:
            shown = " ".join(f"{score:.4f}" for score in result.seeds)
            rows.append(["held out, by seed", shown, "", seeds_text(result)])
    return rows


def _baseline_section(assessment: Assessment) -> list[str]:
    level = assessment.spec.sections.assessment.level
    rows = [
        [
            name,
            f"{baseline.mean:.4f}",
            baseline_interval(baseline, level),
            "yes" if baseline.is_beaten else "not shown",
            baseline.note,
        ]
        for name, baseline in assessment.baselines.items()
    ]
    rows += [
        [name, "", "", "", f"left out: {why}"]
        for name, why in assessment.baselines_left_out.items()
    ]
    header = ["baseline", "observed", "the winner's advantage", "is the winner better?", "note"]
    return ["## Baselines", _table(header, rows)] if rows else []


def _ledger(assessment: Assessment) -> str:
    lines = []
    state = held_out_value(assessment.evaluations)
    if state is None:
        lines.append("Never opened by this study.")
    else:
        if state["evaluations"] > 1:
            lines.append(
                f"**Re-used (n = {state['evaluations']}): only the first evaluation was of rows "
                "that nobody had seen.**"
            )
        rows = [
            [
                str(each.evaluation),
                each.claimed_at.isoformat(),
                _ledger_subject(each),
                each.rule,
                each.state,
                _text(each.reason),
            ]
            for each in assessment.evaluations
        ]
        lines.append(_table(["evaluation", "opened at", "trial", "rule", "state", "reason"], rows))
    if others := openings(assessment.openings_by_others, assessment.study.facts.held_out_rows):
        lines.append(f"Note: {_text(others)}.")
    return "\n\n".join(lines)


def _ledger_subject(evaluation: Evaluation) -> str:
    """Return the number of the trial; of an ensemble that of the one that leads it."""
    is_ensemble = evaluation.result is not None and evaluation.result.ensemble is not None
    return f"ensemble led by {evaluation.number}" if is_ensemble else str(evaluation.number)


def _changes(assessment: Assessment) -> list[str]:
    changes = [change_line(change) for change in assessment.study.changes]
    lines = [*changes, *departure_lines(assessment)]
    listed = "\n".join(f"- {_text(line)}" for line in lines)
    return ["## Changes after the study began", listed] if lines else []


def _details(assessment: Assessment, trial: Trial) -> list[str]:
    result = _newest(assessment.evaluations, trial)
    if result is None or result.classes is None:
        return []
    rows = [
        [
            _text(line.name),
            str(line.rows),
            *map(show_share, (line.precision, line.recall, line.f1)),
        ]
        for line in result.classes.per_class
    ]
    chances = result.classes.calibration
    return [
        "## Held-out scores by class",
        _table(["class", "rows", "precision", "recall", "F1"], rows),
        f"Calibration on the held-out rows: NLL {chances.nll:.4f}, Brier "
        f"{chances.brier:.4f} (0 to 2), ECE {chances.ece:.4f}.",
    ]


def _data_rows(assessment: Assessment) -> list[list[str]]:
    study, data = assessment.study, assessment.spec.sections.data
    facts = study.facts
    return [
        ["source", _text(str(data.dataset or data.path))],
        ["development rows", str(facts.rows)],
        ["held-out rows", str(facts.held_out_rows)],
        ["features", str(facts.features)],
        ["preparation", str(data.prepare)],
        ["folds", f"{facts.fold_kind}, {len(facts.folds)}"],
        ["data fingerprint", f"`{study.data_fingerprint}`"],
        ["held-out fingerprint", f"`{study.held_out_fingerprint}`"],
    ]


def _model_rows(document: Mapping[str, Any]) -> list[list[str]]:
    training = document["training"]
    return [
        ["kind", document["model"]],
        ["members", str(len(document["members"]))],
        *_epoch_rows(training),
        ["updates", " ".join(map(str, training["updates"]))],
        ["updates in cross-validation", f"{training['updates_in_cross_validation']:.0f}"],
        *(
            [f"{name.replace('_', ' ')}, last epoch", _several(training[name])]
            for name in ("running_loss", "running_score")
            if name in training  # not in a model of an earlier version
        ),
        ["weights", f"SHA-256 `{document['weights']['sha256']}`"],
        ["versions", ", ".join(f"{name} {own}" for name, own in document["versions"].items())],
    ]


def _epoch_rows(training: Mapping[str, Any]) -> list[list[str]]:
    """Return how long the model was trained, where that is not the setting's epochs."""
    if "most_epochs" not in training:
        return []
    what = f"{training['epochs']} of {training['most_epochs']}, those of the best mean over folds"
    return [["epochs", what]]


def _several(values: Sequence[float | None]) -> str:
    return " ".join("undefined" if value is None else f"{value:.4f}" for value in values)


def _newest(evaluations: Sequence[Evaluation], trial: Trial) -> HeldOutResult | None:
    """Return the newest result of this trial."""
    done = [
        each.result
        for each in evaluations
        if each.result is not None
        and (each.number, each.result.ensemble) == (trial.number, counts_of(trial))
    ]
    return done[-1] if done else None


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str) -> str:
    """Return a text of the user's, escaped so that it stays text in Markdown and HTML."""
    escaped = html.escape(readable(value), quote=False)
    for mark in "\\`*_[]|#":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped
