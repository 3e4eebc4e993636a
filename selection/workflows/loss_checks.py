"""What weights, label smoothing and momentum of a study do not fit, once its rows are known."""

from __future__ import annotations

from selection.data.dataset import Dataset
from selection.data.folds import FoldPlan
from selection.errors import DataError, ErrorDetail, location_name, nearest_name, show
from selection.metrics import METRICS, RankArea
from selection.study.space import most_of
from selection.study.spec import StudySpec, value_of


def check_class_weights(spec: StudySpec, dataset: Dataset) -> None:
    """Refuse the weight of a class that the rows do not have.

    Raises: DataError.
    """
    weights = spec.sections.training.class_weights
    for name in weights if isinstance(weights, dict) else ():
        if name not in dataset.class_names:
            at = location_name(spec.name, ("training", "class_weights"))
            rule = f"class_weights must name classes of {dataset.name}"
            hint = nearest_name(name, dataset.class_names)
            raise DataError(ErrorDetail(at, rule, show(name), hint))


def check_weights(spec: StudySpec, dataset: Dataset, plan: FoldPlan) -> None:
    """Refuse weights that leave a fold nothing to train on.

    Raises: DataError.
    """
    if dataset.weights is None:
        return
    if any(not dataset.weights[split.training].any() for split in plan.splits):
        at = location_name(spec.name, ("data", "weights"))
        rule = "every fold needs a training row whose weight is above 0"
        hint = "Correct the weights, or lower folds."
        raise DataError(ErrorDetail(at, rule, "weights that are all 0", hint))


def smoothing_warnings(spec: StudySpec) -> list[str]:
    """Say where label smoothing meets a score of ranks.

    Source: Holzmueller et al. (2024), RealMLP, who switch it off for the area under the ROC curve.
    """
    name = "label_smoothing"
    values = spec.space.get(name)
    usual = spec.setting(spec.default).label_smoothing
    most = usual if values is None else max(usual, most_of(values))
    if most == 0 or not isinstance(METRICS[spec.metric].computation, RankArea):
        return []
    return [
        f"label smoothing tends to lower {spec.metric}, which needs the order of the chances. "
        "Leave it out, or compare it with 0."
    ]


def momentum_warnings(spec: StudySpec) -> list[str]:
    """Say where a study gives momentum to optimizers that have none of this name.

    No error: studies are on record that do.
    """
    optimizers = spec.space["optimizer"].grid() if "optimizer" in spec.space else None
    optimizers = optimizers or (value_of(spec, spec.default, "optimizer"),)
    usual = value_of(spec, spec.default, "momentum")
    if "sgd" in optimizers or not (usual or "momentum" in spec.space):
        return []
    return [
        f"momentum has no effect on {' and '.join(map(str, optimizers))}. "
        'Write optimizer = "sgd", or remove momentum.'
    ]
