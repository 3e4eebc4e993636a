"""Study files: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selection.errors import StudyFileError
from selection.study.changes import differences
from selection.study.space import Choices, Range, nearest_inside
from selection.study.spec import most_features, parse_study, read_study

STUDIES = Path(__file__).parents[2] / "studies"


def study(**sections: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": "s",
        "data": {"dataset": "iris"},
        "space": {"learning_rate": {"low": 0.01, "high": 1.0, "log": True}},
    }
    for name, section in sections.items():
        if isinstance(section, dict) and name != "space":
            content[name] = content.get(name, {}) | section
        else:
            content[name] = section
    return content


def errors(content: dict[str, Any]) -> list[str]:
    with pytest.raises(StudyFileError) as caught:
        parse_study(content, "s.toml")
    return [str(error) for error in caught.value.details]


@pytest.mark.parametrize("path", sorted(STUDIES.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_study_of_the_repository_is_accepted(path: Path) -> None:
    spec = read_study(path)
    assert spec.setting(spec.default).kind.epochs >= 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (study(naem="x"), ["naem", "Did you mean name?"]),
        (study(cv={"fold": 3}), ["[cv] fold", "Did you mean folds?"]),
        (study(space={"widht": 3}), ["[space] widht", "Did you mean width?"]),
        (study(search={"metric": "acuracy"}), ['"acuracy"', "Did you mean accuracy?"]),
        (study(space={"width": {"low": 5, "high": 2}}), ["low must be below high", "high = 2"]),
        (study(space={"width": {"low": 5, "high": 5}}), ["low must be below high"]),
        (
            study(space={"dropout": {"low": 0, "high": 0.5, "log": True}}),
            ["logarithmic range needs low above 0"],
        ),
        (study(space={"width": {"low": 1.5, "high": 2}}), ["low must be a whole number"]),
        (study(space={"width": {"low": 1}}), ["needs high"]),
        (study(space={"width": {"low": 1, "high": 9, "logg": True}}), ["Did you mean log?"]),
        (study(space={"activation": {"low": 1, "high": 2}}), ["whose values are numbers"]),
        (study(space={"activation": {"choices": ["relu", "swish"]}}), ['"swish"']),
        (study(space={"activation": {"choices": []}}), ["a non-empty list"]),
        (study(space={"width": {"choices": [8, 8]}}), ["choices must differ"]),
        (study(space={"dropout": 1.0}), ["[space] dropout", "less than 1"]),
        (study(space={"learning_rate": True}), ["[space] learning_rate", "true"]),
        (study(cv={"folds": 1}), ["[cv] folds", "greater than or equal to 2"]),
        (study(cv={"kind": "time_series", "repeats": 2}), ["repeats must be 1"]),
        (study(cv={"kind": "group"}), ["group needs groups"]),
        (study(name="x" * 513), ["at most 512"]),
        (study(name="a\x1b[31mb"), ["control characters", "\\x1b"]),
        (study(name=" "), ["visible"]),
        (study(data={"path": "x.csv"}), ["needs dataset or path"]),
        (study(data={"held_out": 1.5}), ["[data] held_out"]),
        (study(search={"default": {"width": 3}}), ["default may only set what [space] searches"]),
        (study(search={"default": {"learning_rate": -1}}), ["greater than 0"]),
        (study(search={"pruner": "percentile"}), ["percentile needs percentile"]),
        (study(search={"pruner": "threshold"}), ["needs lower or upper"]),
        (study(search={"pruner_options": {"patience": 3}}), ["must know the option"]),
        (study(search={"pruner_options": {"reduction_factor": 1}}), ["from 2"]),
        (study(search={"sampler": "grid"}), ["a grid needs choices or a step"]),
        (
            study(space={"width": {"low": 2, "high": 8}, "precision": "bfloat16"}),
            ["[space] precision", "all trials of a study have one precision"],
        ),
        (study(space={"width": 8}), ["needs something to search"]),
        (
            study(
                space={"width": [8, 8], "dropout": {"low": 0.0, "high": 0.5}},
                model={"hidden_layers": 1},
            ),
            ["a list per layer"],
        ),
        (study(space={"dropout": {"choices": [0.0, [0.2, 0.5]]}}), ["a list per layer"]),
        (
            study(
                training={"optimizer": "adam"}, space={"weight_decay": {"low": 0.0, "high": 0.1}}
            ),
            ["called l2"],
        ),
        (study(space={"l2": {"low": 0.0, "high": 0.1}}), ["l2 belongs to adam"]),
        (study(training={"nesterov": True}), ["nesterov needs momentum"]),
        (
            study(space={"beta2": {"low": 0.9, "high": 0.99}}),
            ["[space] beta2", "beta2 needs optimizer adam or adamw", "Remove beta2."],
        ),
        (
            study(space={"dropout_schedule": {"choices": ["constant", "step"]}, "dropout": [0]}),
            ["[space] dropout_schedule", "dropout_schedule needs dropout"],
        ),
        (
            study(space={"weight_decay_schedule": {"choices": ["constant", "cosine"]}}),
            ["weight_decay_schedule needs weight_decay or l2"],
        ),
        (study(training={"schedule": "cosin"}), ["[training] schedule", '"cosin"', "cosine"]),
        (study(training={"schedule": ["step"]}), ['{ choices = ["step"] } in [space]']),
        (study(space={"schedule": {"low": 0, "high": 1}}), ["[space] schedule", "choices"]),
        (study(training={"warmup": 1.5}), ["[training] warmup", "1.5"]),
        (study(training={"beta1": 1.0}), ["[training] beta1", "less than 1"]),
        (study(training={"eps": 0.0}), ["[training] eps", "greater than or equal to"]),
        (study(training={"clip_norm": -1}), ["[training] clip_norm", "-1"]),
        (study(seed=-1), ["seed"]),
        (study(data={"held_out": {"colum": "p", "value": 1}}), ["colum"]),
        (study(search="x"), ["must be a section"]),
        (study(space={"learning_rate": {"low": 0.1, "high": 10**400}}), ["high must be a number"]),
        (
            study(
                search={"pruner": "threshold", "pruner_options": {"lower": 0.9, "upper": 0.2}}
            ),
            ["lower must be below upper"],
        ),
        (
            study(search={"pruner": "hyperband", "pruner_options": {"min_resource": 20}}),
            ["at most the epochs"],
        ),
        (study(training={"precision": "float8"}), ["precision"]),
        (study(model={"features": 0}), ["[model] features", "greater than or equal to 1", "0"]),
        (study(model={"features": 1.5}), ["[model] features", "valid integer"]),
        (study(model={"feature": 3}), ["Did you mean features?"]),
        (study(space={"lr": 0.1}), ["[space] lr", "Did you mean learning_rate?"]),
        (study(space={"wd": 0.1}), ["Did you mean weight_decay?"]),
        (study(space={"lambda": 0.1}), ["Did you mean weight_decay?"]),
        (study(model={"layers": 2}), ["[model] layers", "Did you mean hidden_layers?"]),
        (study(training={"batchsize": 32}), ["Did you mean batch_size?"]),
        (study(search={"n_trials": 9}), ["Did you mean trials?"]),
        (study(training={"lr": 0.1}), ["[training] lr", "Write learning_rate in [space]."]),
        (study(n_trials=9), ["n_trials", "Write trials in [search]."]),
        (study(cv={"epochs": 9}), ["Write epochs in [training]."]),
        (study(task="regression"), ["task", "The metric decides it", "metric in [search]"]),
        (study(data={"task": "regression"}), ["The metric decides it"]),
        (study(search={"direction": "maximize"}), ["The metric decides it"]),
        (
            study(training={"optimizer": ["sgd", "adam"]}),
            ['write optimizer = { choices = ["sgd", "adam"] } in [space]'],
        ),
        (
            study(training={"batch_size": [32, 64]}),
            ["write batch_size = { choices = [32, 64] } in [space]"],
        ),
        (
            study(training={"momentum": {"low": 0.0, "high": 0.9}}),
            ["move momentum to [space]"],
        ),
        (
            study(space={"optimizer": ["sgd", "adam"]}),
            ['Write { choices = ["sgd", "adam"] }.'],
        ),
        (study(space={"features": {"low": 0, "high": 3}}), ["[space] features", "equal to 1"]),
        (study(space={"features": {"low": 1.0, "high": 3}}), ["low must be a whole number"]),
        (study(space={"features": {"choices": [3, 0]}}), ["[space] features", "equal to 1"]),
        (study(space={"features": {"choices": [[3], 2]}}), ["[space] features", "[3]"]),
        (study(training={"diagnostics": 1}), ["[training] diagnostics", "boolean"]),
        (study(run={"on": "cluster"}), ["[run] on", "processes", "ray", '"cluster"']),
        (study(run={"worker": 2}), ["[run] worker", "Did you mean workers?"]),
        (study(run={"workers": 0}), ["[run] workers", "equal to 1", "got 0"]),
        (study(run={"workers": 1.5}), ["[run] workers", "1.5"]),
        (study(run={"lag": 0}), ["[run] lag", "got 0"]),
        (study(run={"lag": "x"}), ["[run] lag", "free", '"x"']),
        (study(run={"workers": 2, "lag": 1}), ["s.toml: run: lag must be at least workers"]),
        (study(run={"address": "auto"}), ["run: address belongs to Ray"]),
        (study(run={"gpus_per_worker": 0.5}), ["run: gpus_per_worker belongs to Ray"]),
        (study(run={"on": "ray", "gpus_per_worker": 0}), ["[run] gpus_per_worker", "got 0"]),
        (study(run={"on": "ray", "gpus_per_worker": 1.5}), ["[run] gpus_per_worker", "whole"]),
        (
            study(space={"width": {"low": 2, "high": 8}, "diagnostics": True}),
            ["[space] diagnostics", "all trials of a study have one diagnostics", "[training]"],
        ),
        (
            study(space={"diagnostics": {"choices": [True, False]}}),
            ["[space] diagnostics", "all trials of a study have one diagnostics"],
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_rule_value_and_hint(
    content: dict[str, Any], words: list[str]
) -> None:
    found = errors(content)
    assert len(found) == 1, found
    assert "\n" not in found[0]
    assert "but got" in found[0]
    for word in words:
        assert word in found[0]


def test_all_errors_of_a_file_are_shown_at_once() -> None:
    content = study(
        cv={"folds": 0}, search={"metric": "acuracy", "trails": 3}, space={"widht": 1, "l2": -1}
    )
    assert len(errors(content)) == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [("name = ", "TOML"), (b"\xff\xfe".decode("latin1"), "TOML"), ("", "must be given")],
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(StudyFileError, match=words):
        read_study(path)


def test_a_missing_file_and_other_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="readable"):
        read_study(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyFileError, match="UTF-8"):
        read_study(tmp_path / "bytes.toml")


def test_settings_merge_params_constants_and_sections() -> None:
    spec = parse_study(
        study(
            model={"hidden_layers": 2, "activation": "tanh"},
            training={"momentum": 0.5, "epochs": 7},
            space={
                "width": {"low": 4, "high": 64},
                "dropout": [0.2, 0.5],
                "epochs": {"choices": [3, 5]},
            },
        ),
        "s.toml",
    )
    setting = spec.setting({"width": 10, "epochs": 5})
    assert setting.widths == (10, 10)
    assert setting.dropout == (0.2, 0.5)
    assert (setting.kind.activation, setting.kind.epochs, setting.momentum) == ("tanh", 5, 0.5)
    # The default is the section's value where the space has it, and the nearest otherwise.
    assert spec.default == {"width": 64, "epochs": 3}


def test_a_list_of_widths_sets_the_depth() -> None:
    spec = parse_study(study(space={"width": {"choices": [[8], [8, 4], [8, 4, 2]]}}), "s.toml")
    assert spec.setting({"width": (8, 4)}).kind.hidden_layers == 2


def test_fields_without_effect_do_not_tell_settings_apart() -> None:
    spec = parse_study(
        study(
            space={
                "hidden_layers": {"choices": [0, 1]},
                "width": {"low": 4, "high": 64},
                "dropout": {"low": 0.0, "high": 0.5},
                "optimizer": {"choices": ["sgd", "adam"]},
                "weight_decay": {"low": 0.0, "high": 0.1},
            }
        ),
        "s.toml",
    )
    linear: dict[str, Any] = {
        "hidden_layers": 0,
        "width": 8,
        "dropout": 0.1,
        "optimizer": "sgd",
        "weight_decay": 0.0,
    }
    assert spec.setting(linear) == spec.setting(linear | {"width": 9, "dropout": 0.2})
    deep = linear | {"hidden_layers": 1}
    assert spec.setting(deep) != spec.setting(deep | {"width": 9})
    adam = deep | {"optimizer": "adam"}
    assert spec.setting(adam) == spec.setting(adam | {"weight_decay": 0.1})


def test_constants_of_adam_and_idle_schedules_do_not_tell_settings_apart() -> None:
    spec = parse_study(
        study(
            training={"eps": 1e-6},
            space={
                "optimizer": {"choices": ["sgd", "adamw"]},
                "beta1": {"low": 0.5, "high": 0.9},
                "beta2": {"low": 0.9, "high": 0.999},
                "dropout": {"low": 0.0, "high": 0.5},
                "dropout_schedule": {"choices": ["constant", "flat_cos"]},
                "weight_decay": {"low": 0.0, "high": 0.5},
                "weight_decay_schedule": {"choices": ["constant", "flat_cos"]},
            },
        ),
        "s.toml",
    )
    base: dict[str, Any] = {
        "optimizer": "sgd",
        "beta1": 0.9,
        "beta2": 0.95,
        "dropout": 0.0,
        "dropout_schedule": "constant",
        "weight_decay": 0.0,
        "weight_decay_schedule": "constant",
    }

    def same(before: dict[str, Any], **changed: Any) -> bool:
        return spec.setting(base | before) == spec.setting(base | before | changed)

    assert same({}, beta1=0.5, beta2=0.9)
    assert not same({"optimizer": "adamw"}, beta1=0.5)
    assert spec.setting(base | {"optimizer": "adamw"}).eps == 1e-6
    assert same({}, dropout_schedule="flat_cos", weight_decay_schedule="flat_cos")
    assert not same({"dropout": 0.1}, dropout_schedule="flat_cos")
    assert not same({"weight_decay": 0.1}, weight_decay_schedule="flat_cos")


def test_nothing_moves_and_nothing_is_clipped_unless_the_file_says_so() -> None:
    plain = parse_study(study(), "s.toml")
    values: dict[str, tuple[Any, Any]] = {
        "schedule": ("constant", "coslog4"),
        "warmup": (0.0, 0.1),
        "clip_norm": (0.0, 2.0),
        "beta1": (0.9, 0.5),
        "beta2": (0.999, 0.9),
        "eps": (1e-8, 1e-5),
        "weight_decay_schedule": ("constant", "step"),
        "dropout_schedule": ("constant", "cosine"),
    }
    written = {name: value for name, (_, value) in values.items()} | {"optimizer": "adam"}
    space = {"l2": 0.1, "dropout": 0.2}
    full = parse_study(study(training=written, space=space, search={"trials": 1}), "s.toml")
    before, after = (each.setting(each.default) for each in (plain, full))
    for name, expected in values.items():
        assert (getattr(before, name), getattr(after, name)) == expected


def test_the_default_may_lie_outside_and_has_a_nearest_point_inside() -> None:
    space = {"decay": Range(1e-6, 1e-2, log=True), "width": Range(4, 8, integer=True)}
    params = {"decay": 0.0, "width": 6}
    assert nearest_inside(space, params) == {"decay": 1e-6, "width": 6}


def test_the_usual_learning_rate_and_depth_follow_what_is_searched() -> None:
    def default(**space: Any) -> Any:
        spec = parse_study(study(space=space), "s.toml")
        return spec.setting(spec.default)

    rate = {"low": 1e-4, "high": 1.0, "log": True}
    assert default(optimizer="adam", learning_rate=rate).learning_rate == 0.001
    assert default(optimizer={"choices": ["adamw", "sgd"]}, learning_rate=rate).learning_rate == 0.1
    assert default(optimizer="adam", width={"low": 4, "high": 9}).learning_rate == 0.001
    assert default(hidden_layers={"low": 0, "high": 2}).kind.hidden_layers == 1


@pytest.mark.parametrize(
    ("sections", "default", "most"),
    [
        ({}, 0, 0),
        ({"model": {"features": 3}}, 3, 3),
        ({"space": {"features": 2, "width": {"low": 2, "high": 8}}}, 2, 2),
        ({"space": {"features": {"low": 1, "high": 20}}}, 20, 20),
        ({"space": {"features": {"low": 1, "high": 20, "step": 4}}}, 17, 20),
        ({"space": {"features": {"choices": [3, 20, 1]}}}, 20, 20),
        ({"model": {"features": 4}, "space": {"features": {"low": 1, "high": 20}}}, 4, 20),
        (
            {"space": {"features": {"low": 1, "high": 20}}, "search": {"default": {"features": 3}}},
            3,
            20,
        ),
        (
            {"space": {"features": {"low": 1, "high": 3}}, "search": {"default": {"features": 30}}},
            30,
            30,
        ),
    ],
)
def test_the_default_sees_as_many_features_as_it_may(
    sections: dict[str, Any], default: int, most: int
) -> None:
    spec = parse_study(study(**sections), "s.toml")
    assert spec.setting(spec.default).features == default
    assert most_features(spec) == most


def test_features_of_a_trial_are_those_it_was_asked_with() -> None:
    spec = parse_study(study(space={"features": {"low": 1, "high": 20}}), "s.toml")
    assert [spec.setting({"features": count}).features for count in (1, 7, 20)] == [1, 7, 20]
    assert spec.setting({"features": 1}) != spec.setting({"features": 2})


@pytest.mark.parametrize("widths", [(), (5,), (7, 3)])
@pytest.mark.parametrize(("features", "seen"), [(0, 9), (1, 1), (4, 4), (9, 9), (30, 9)])
def test_only_weights_of_seen_inputs_are_counted(
    widths: tuple[int, ...], features: int, seen: int
) -> None:
    spec = parse_study(study(model={"hidden_layers": len(widths)}), "s.toml")
    setting = replace(spec.setting(spec.default), widths=widths, features=features)
    sizes = [seen, *widths, 3]
    counts = [a * b + b for a, b in itertools.pairwise(sizes)]
    assert setting.count_parameters(9, 3) == sum(counts)


def test_diagnostics_are_no_part_of_a_setting() -> None:
    off = parse_study(study(), "s.toml")
    on = parse_study(study(training={"diagnostics": True}), "s.toml")
    assert (off.sections.training.diagnostics, on.sections.training.diagnostics) == (False, True)
    assert on.setting(on.default) == off.setting(off.default)
    line = "training.diagnostics: false -> true"
    assert [*map(str, differences(off.to_json(), on.to_json()))] == [line]


def test_grids_list_every_point() -> None:
    tenths = Range(0.1, 0.5, step=0.1)
    assert tenths.grid() == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert all(tenths.nearest(point) == point for point in tenths.grid() or ())
    assert Range(2, 8, step=3, integer=True).grid() == (2, 5, 8)
    assert Range(0.0, 0.3, step=0.1).grid() == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert Range(1, 3, integer=True).grid() == (1, 2, 3)
    assert Range(0.0, 1.0).grid() is None
    assert Range(1, 9, log=True, integer=True).grid() is None
    assert Choices(("a", "b")).grid() == ("a", "b")


def test_a_grid_has_no_more_trials_than_points() -> None:
    content = study(
        space={"width": {"choices": [4, 8]}, "learning_rate": {"choices": [0.1, 0.2, 0.3]}},
        search={"sampler": "grid", "trials": 100, "default": {"width": 8, "learning_rate": 0.1}},
    )
    assert parse_study(content, "s.toml").budget == 6
    content["search"]["default"]["learning_rate"] = 0.15
    assert parse_study(content, "s.toml").budget == 7


@pytest.mark.parametrize(
    "run",
    [
        {},
        {"workers": 4},
        {"workers": 4, "lag": 4},
        {"workers": 4, "lag": "free"},
        {"lag": 3},
        {"on": "ray"},
        {"on": "ray", "address": "auto", "gpus_per_worker": 0.5, "workers": 2, "lag": 8},
    ],
)
def test_a_file_says_where_it_trains(run: dict[str, Any]) -> None:
    section = parse_study(study(run=run), "s.toml").sections.run
    said = {"on": "processes", "workers": None, "lag": None, "address": None}
    assert vars(section) == {**said, "gpus_per_worker": None, **run}


def test_fingerprint_and_differences_see_every_change() -> None:
    content = study()
    spec = parse_study(content, "s.toml")
    same = parse_study(copy.deepcopy(content) | {"seed": 0}, "elsewhere.toml")
    other = parse_study(copy.deepcopy(content) | {"seed": 1}, "s.toml")
    assert spec.fingerprint == same.fingerprint
    assert spec.fingerprint != other.fingerprint
    assert [*map(str, differences(spec.to_json(), other.to_json()))] == ["seed: 0 -> 1"]
    assert parse_study(spec.to_json(), "json").fingerprint == spec.fingerprint


@pytest.mark.parametrize(
    ("metric", "task", "is_minimised"),
    [("accuracy", "classification", False), ("cross_entropy", "classification", True),
     ("rmse", "regression", True), ("r2", "regression", False)],
)  # fmt: skip
def test_the_metric_gives_task_and_direction(metric: str, task: str, is_minimised: bool) -> None:
    spec = parse_study(study(search={"metric": metric}), "s.toml")
    assert (spec.task, spec.is_minimised) == (task, is_minimised)


@pytest.mark.parametrize(
    ("final", "seeds"),
    [
        ({}, 1),
        ({"model": "fold_ensemble"}, 1),
        ({"model": "refit_ensemble"}, 5),
        ({"model": "refit_ensemble", "seeds": 2}, 2),
    ],
)
def test_an_ensemble_of_refits_has_five_of_them_unless_the_file_says_otherwise(
    final: dict[str, Any], seeds: int
) -> None:
    content = {"name": "s", "data": {"dataset": "iris"}, "search": {"trials": 1}, "final": final}
    spec = parse_study(content, "s.toml")
    assert spec.sections.final.seeds == seeds
    assert spec.to_json()["final"]["seeds"] == seeds


# The loss that is trained.


def loss_study(metric: str, **sections: Any) -> dict[str, Any]:
    return {
        "name": "s",
        "data": {"path": "t.csv", "target": "y"},
        "search": {"metric": metric, "trials": 1},
        **sections,
    }


def test_losses_are_searched_trial_by_trial() -> None:
    space = {
        "label_smoothing": {"low": 0.0, "high": 0.2},
        "class_weights": {"choices": ["none", "balanced"]},
    }
    spec = parse_study(loss_study("accuracy", space=space), "s.toml")
    assert spec.default == {"label_smoothing": 0.0, "class_weights": "none"}
    setting = spec.setting({"label_smoothing": 0.1, "class_weights": "balanced"})
    assert (setting.label_smoothing, setting.class_weights) == (0.1, "balanced")
    assert setting.kind == spec.setting(spec.default).kind, "members of both pack together"


def test_a_table_of_class_weights_is_one_setting_in_any_order() -> None:
    settings = []
    for table in ({"a": 2, "b": 0.5}, {"b": 0.5, "a": 2.0}):
        spec = parse_study(loss_study("accuracy", training={"class_weights": table}), "s.toml")
        settings.append(spec.setting({}))
    assert settings[0] == settings[1]
    assert settings[0].class_weights == (("a", 2.0), ("b", 0.5))


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"training": {"label_smoothing": 0.1}},
            "[training] label_smoothing: label_smoothing needs a metric of classification",
        ),
        (
            {"space": {"label_smoothing": {"low": 0.0, "high": 0.1}}},
            "[space] label_smoothing: label_smoothing needs a metric of classification",
        ),
        (
            {"training": {"class_weights": "balanced"}},
            "[training] class_weights: class_weights needs a metric of classification",
        ),
    ],
)
def test_a_regression_has_no_classes_to_weigh_or_smooth(sections: Any, said: str) -> None:
    (line,) = errors(loss_study("rmse", **sections))
    assert said in line
    parse_study(loss_study("accuracy", **sections), "s.toml")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"training": {"class_weights": {"a": 0.0}}}, "must be greater than 0"),
        ({"training": {"class_weights": "even"}}, "must be one of"),
        ({"training": {"label_smoothing": 1.0}}, "must be less than 1"),
        (
            {"space": {"class_weights": {"choices": [{"a": 1.0}, "none"]}}},
            "a table of class_weights must be that of all trials",
        ),
    ],
)
def test_losses_that_are_none_are_refused(sections: Any, said: str) -> None:
    (line,) = errors(loss_study("accuracy", **sections))
    assert said in line


# What is learned beside weights.


def test_learned_factors_are_searched_and_split_buckets() -> None:
    space = {name: {"choices": [False, True]} for name in LEARNED}
    spec = parse_study(loss_study("rmse", space=space), "s.toml")
    assert spec.default == dict.fromkeys(LEARNED, False)
    kind = spec.setting(dict.fromkeys(LEARNED, True)).kind
    assert (kind.input_scaling, kind.parametric_activation) == (True, True)


def test_a_linear_model_has_no_activation_whose_share_could_be_learned() -> None:
    model = {"hidden_layers": 0, **dict.fromkeys(LEARNED, True)}
    kind = parse_study(loss_study("rmse", model=model), "s.toml").setting({}).kind
    assert (kind.input_scaling, kind.parametric_activation) == (True, False)


LEARNED = ("input_scaling", "parametric_activation")


@pytest.mark.parametrize("key", [{"numeric_embedding": "pbld"}, {"category_embedding": True}])
def test_embeddings_see_all_features(key: dict[str, Any]) -> None:
    (error,) = errors(study(model={"features": 2, **key}))
    (name,) = key
    assert f"[model] {name}: {name} embeds whole columns and needs all features" in error


def test_the_scale_of_waves_is_searched_where_there_may_be_some() -> None:
    scale = {"embedding_scale": {"low": 0.05, "high": 0.5, "log": True}}
    (error,) = errors(study(space=scale))
    assert "embedding_scale needs numeric_embedding pl or pbld" in error
    searched = {"numeric_embedding": {"choices": ["none", "pbld"]}, **scale}
    spec = parse_study(study(space=searched), "s.toml")
    params: dict[str, Any] = {"numeric_embedding": "none", "embedding_scale": 0.2}
    assert spec.setting(params) == spec.setting({**params, "embedding_scale": 0.1})
