"""Rules of a study file that tie several of its sections together."""

from __future__ import annotations

from typing import Any

from selection.errors import ErrorDetail, location_name, show
from selection.metrics import METRICS
from selection.study.baselines import baselines_of
from selection.study.fields import StudySections
from selection.study.hyperparameters import CONSTANT_FIELDS, PER_LAYER_FIELDS
from selection.study.pruners import option_errors
from selection.study.space import Choices, Range, SearchSpace
from selection.study.trial import Params


def rule_errors(
    sections: StudySections,
    space: SearchSpace,
    constants: Params,
    default: Params,
    where: str,
) -> list[ErrorDetail]:
    """Return every broken rule between sections."""
    return [
        *_search_errors(sections, space, where),
        *_constant_errors(space, constants, where),
        *_optimizer_errors(sections, space, constants, where),
        *_loss_errors(sections, space, constants, where),
        *_idle_errors(sections, space, constants, where),
        *_embedding_errors(sections, space, constants, where),
        *_layer_errors(sections, space, constants, default, where),
        *_patience_errors(sections, where),
        *_pruner_errors(sections, where),
        *_rung_errors(sections, space, constants, where),
        *_fold_errors(sections, where),
        *_baseline_errors(sections, where),
    ]


def setting_errors(sections: StudySections, values: Params, where: str) -> list[ErrorDetail]:
    """Return the broken rules of one setting, given its values that no section has."""
    return [
        *_loss_errors(sections, {}, values, where),
        *_embedding_errors(sections, {}, values, where),
    ]


def _constant_errors(space: SearchSpace, constants: Params, where: str) -> list[ErrorDetail]:
    return [
        ErrorDetail(
            location_name(where, ("space", name)),
            f"all trials of a study have one {name}",
            "an entry of [space]",
            "Write it under [training].",
        )
        for name in CONSTANT_FIELDS
        if name in {*space, *constants}
    ]


def _search_errors(sections: StudySections, space: SearchSpace, where: str) -> list[ErrorDetail]:
    search = sections.search
    at = location_name(where, ("space",))
    if not space and search.trials > 1:
        rule = "more than one trial needs something to search"
        hint = "Give a range or choices, or set [search] trials = 1."
        return [ErrorDetail(at, rule, f"{search.trials} trials and constants only", hint)]
    if search.sampler != "grid":
        return []
    return [
        ErrorDetail(
            location_name(where, ("space", name)),
            "a grid needs choices or a step",
            "a continuous range",
            "Write { choices = [...] }, or add a step.",
        )
        for name, dimension in space.items()
        if dimension.grid() is None
    ]


def _possible(
    name: str, sections: StudySections, space: SearchSpace, constants: Params
) -> list[Any]:
    """Return every value, or the range of values, that a hyperparameter may have in this study."""
    if name in space:
        dimension = space[name]
        return list(dimension.options) if isinstance(dimension, Choices) else [dimension]
    if name in constants:
        return [constants[name]]
    for section in (sections.model, sections.training):
        if name in type(section).model_fields:
            return [getattr(section, name)]
    return []


def _optimizer_errors(
    sections: StudySections, space: SearchSpace, constants: Params, where: str
) -> list[ErrorDetail]:
    optimizers = _possible("optimizer", sections, space, constants)
    errors = []
    if optimizers == ["adam"] and ("weight_decay" in space or "weight_decay" in constants):
        rule = "weight_decay needs sgd or adamw; the penalty of adam is called l2"
        hint = "Write l2, or choose adamw for decoupled weight decay."
        errors.append(
            ErrorDetail(location_name(where, ("space", "weight_decay")), rule, "adam", hint)
        )
    if "adam" not in optimizers and ("l2" in space or "l2" in constants):
        hint = "Write weight_decay."
        at = location_name(where, ("space", "l2"))
        errors.append(ErrorDetail(at, "l2 belongs to adam", show(optimizers), hint))
    momenta = _possible("momentum", sections, space, constants)
    if sections.training.nesterov and momenta == [0.0]:
        at = location_name(where, ("training", "nesterov"))
        errors.append(ErrorDetail(at, "nesterov needs momentum", "momentum = 0", "Set momentum."))
    return errors


def _loss_errors(
    sections: StudySections, space: SearchSpace, constants: Params, where: str
) -> list[ErrorDetail]:
    """Refuse what only the loss of a classification has."""
    metric = sections.search.metric
    if METRICS[metric].task == "classification":
        return []
    return [
        ErrorDetail(
            location_name(where, ("space" if name in {*space, *constants} else "training", name)),
            f"{name} needs a metric of classification",
            show(metric),
            "Remove it.",
        )
        for name, off in (("label_smoothing", 0.0), ("class_weights", "none"))
        if _possible(name, sections, space, constants) != [off]
    ]


def _idle_errors(
    sections: StudySections, space: SearchSpace, constants: Params, where: str
) -> list[ErrorDetail]:
    """Refuse to search what has no effect on any trial."""

    def is_ever(name: str) -> bool:
        values = _possible(name, sections, space, constants)
        parts = (each if isinstance(each, tuple) else (each,) for each in values)
        return any(isinstance(part, Range) or part > 0 for each in parts for part in each)

    is_sgd = _possible("optimizer", sections, space, constants) == ["sgd"]
    idle = dict.fromkeys(("beta1", "beta2", "eps") if is_sgd else (), "optimizer adam or adamw")
    if not is_ever("dropout"):
        idle["dropout_schedule"] = "dropout"
    if not is_ever("weight_decay") and not is_ever("l2"):
        idle["weight_decay_schedule"] = "weight_decay or l2"
    if _possible("numeric_embedding", sections, space, constants) == ["none"]:
        idle["embedding_scale"] = "numeric_embedding pl or pbld"
    return [
        ErrorDetail(
            location_name(where, ("space", name)),
            f"{name} needs {needed}",
            "a search without effect",
            f"Remove {name}.",
        )
        for name, needed in idle.items()
        if name in space
    ]


def _embedding_errors(
    sections: StudySections, space: SearchSpace, constants: Params, where: str
) -> list[ErrorDetail]:
    """Refuse embeddings where an MLP sees a part of its inputs: columns are embedded as a whole."""
    if _possible("features", sections, space, constants) == [None]:
        return []
    return [
        ErrorDetail(
            location_name(where, ("space" if name in {*space, *constants} else "model", name)),
            f"{name} embeds whole columns and needs all features",
            "features",
            f"Remove features, or {name}.",
        )
        for name, off in (("numeric_embedding", "none"), ("category_embedding", False))
        if _possible(name, sections, space, constants) != [off]
    ]


def _layer_errors(
    sections: StudySections,
    space: SearchSpace,
    constants: Params,
    default: Params,
    where: str,
) -> list[ErrorDetail]:
    """Return the lists per layer whose length differs from the depth."""
    depths = _depths(sections, space, constants, default)
    is_stated = _possible("hidden_layers", sections, space, constants) != [None]
    errors = []
    for name in PER_LAYER_FIELDS:
        if name == "width" and not is_stated:
            # A list of widths sets the depth itself.
            continue
        values = _possible(name, sections, space, constants)
        if name in default:
            values.append(default[name])
        for value in values:
            if isinstance(value, tuple) and depths != {len(value)}:
                rule = f"a list per layer needs one {name} for each of the hidden layers"
                got = f"{show(value)} with hidden_layers = {show(sorted(depths))}"
                hint = "Give as many values as there are hidden layers."
                errors.append(ErrorDetail(location_name(where, ("space", name)), rule, got, hint))
                break
    return errors


def _depths(
    sections: StudySections, space: SearchSpace, constants: Params, default: Params
) -> set[int]:
    stated = _possible("hidden_layers", sections, space, constants)
    if "hidden_layers" in space:
        return {depth for depth in space["hidden_layers"].grid() or () if isinstance(depth, int)}
    if stated != [None]:
        return {int(stated[0])}
    widths = _possible("width", sections, space, constants)
    widths += [default["width"]] if "width" in default else []
    return {len(width) if isinstance(width, tuple) else 1 for width in widths or [1]}


def _patience_errors(sections: StudySections, where: str) -> list[ErrorDetail]:
    training = sections.training
    if not training.patience or training.epoch == "best_mean":
        return []
    at = location_name(where, ("training", "patience"))
    rule, hint = 'patience needs epoch = "best_mean"', 'Write epoch = "best_mean", or remove it.'
    return [ErrorDetail(at, rule, f'epoch = "{training.epoch}"', hint)]


def _pruner_errors(sections: StudySections, where: str) -> list[ErrorDetail]:
    search = sections.search
    at = location_name(where, ("search", "pruner_options"))
    return option_errors(search.pruner, search.pruner_options, at)


def _rung_errors(
    sections: StudySections, space: SearchSpace, constants: Params, where: str
) -> list[ErrorDetail]:
    """Refuse a first rung after the last epoch: no trial would ever reach it."""
    search = sections.search
    epochs = _possible("epochs", sections, space, constants)
    if epochs == [None]:  # the recipe will choose enough of them
        return []
    most = max(each.high if isinstance(each, Range) else each for each in epochs)
    first = search.pruner_options.get("min_resource", 1)
    if search.pruner not in ("hyperband", "successive_halving") or first <= most:
        return []
    at = location_name(where, ("search", "pruner_options"))
    got = f"min_resource = {first} with {most:g} epochs"
    return [ErrorDetail(at, "min_resource must be at most the epochs", got, "Lower min_resource.")]


def _fold_errors(sections: StudySections, where: str) -> list[ErrorDetail]:
    kind, groups = sections.cv.kind, sections.data.groups
    at = location_name(where, ("cv", "kind"))
    if kind in ("group", "stratified_group") and groups is None:
        hint = "Name the column: [data] groups = ..."
        return [ErrorDetail(at, f"{kind} needs groups", "no groups", hint)]
    if groups is not None and kind not in (None, "group", "stratified_group"):
        hint = 'Write kind = "group", or remove groups.'
        return [ErrorDetail(at, "groups need kind group or stratified_group", show(kind), hint)]
    return []


def _baseline_errors(sections: StudySections, where: str) -> list[ErrorDetail]:
    """Refuse the baseline without features of the other task."""
    task = METRICS[sections.search.metric].task
    known, asked = baselines_of(task), sections.assessment.baselines or ()
    at = location_name(where, ("assessment", "baselines"))
    return [
        ErrorDetail(
            at, f"a {task} has the baselines {show(known)}", show(name), f"Write {show(known[0])}."
        )
        for name in asked
        if name not in known
    ]
