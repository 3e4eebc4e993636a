"""Writes the parts of docs/ that follow from the code, so that they cannot drift from it.

A page holds a generated part between `<!-- generated: NAME -->` and `<!-- end -->`; all else on it
is written by hand. `make docs` rewrites the parts, `--check` only names the pages that are stale.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import grimp
import typer.main
import typer.testing
from pydantic import BaseModel

import selection
from selection.cli.main import app
from selection.metrics import METRICS
from selection.study.fields import HeldOutColumn, ProvenanceSection, StudySections
from selection.study.hyperparameters import CONSTANT_FIELDS, SPACE_SECTIONS, OwnSpaceFields
from selection.study.pruners import OPTIONS
from selection.study.recipes import RECIPES
from selection.study.schedules import SCHEDULES

DOCS = Path(__file__).parent
SOURCE = Path(selection.__file__).parent
HELP_COLUMNS = "100"
# The words of JSON Schema for what a study file holds.
TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
}
# What fill_in_rows of selection.study.recipes fills in, where neither file nor recipe names it.
FROM_ROWS: Mapping[str, tuple[str, ...]] = {
    "data": ("prepare", "categorical"),
    "training": ("batch_size", "epochs"),
}
LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def schedules() -> str:
    """Return a table of the schedules."""
    rows = [_row(f"`{name}`", meaning) for name, meaning in SCHEDULES.items()]
    return "\n".join(
        [_row("schedule", "factor in the course of the training"), _row("---", "---"), *rows]
    )


def study_keys() -> str:
    """Return a table of keys for each section of a study file."""
    top = {name: key for name, key in StudySections.model_fields.items() if name != "space"}
    sections = {name: kind for name, key in top.items() if (kind := _section(key.annotation))}
    parts = [_key_table("Top level", StudySections, [name for name in top if name not in sections])]
    for name, kind in sections.items():
        if kind is not ProvenanceSection:
            parts.append(_key_table(f"`[{name}]`", kind, list(kind.model_fields)))
        if name == "data":
            title = "`held_out = { ... }`"
            parts.append(_key_table(title, HeldOutColumn, list(HeldOutColumn.model_fields)))
        if name == "training":
            parts.append(_key_table("`[space]`", OwnSpaceFields, list(OwnSpaceFields.model_fields)))
    parts.append(
        _key_table("`[provenance]`", ProvenanceSection, list(ProvenanceSection.model_fields))
    )
    return "\n\n".join(parts)


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a key of the top level holds, or None if it holds a value."""
    kinds = (annotation, *get_args(annotation))
    return next(
        (each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)), None
    )


def _key_table(title: str, section: type[BaseModel], names: list[str]) -> str:
    schema = section.model_json_schema()
    rows = [_key_row(section, name, schema["properties"][name]) for name in names]
    searchable = ["searchable"] if section in SPACE_SECTIONS else []
    head = ["key", "value", "default", *searchable, "meaning"]
    return "\n".join([f"### {title}", "", _row(*head), _row(*["---"] * len(head)), *rows])


def _key_row(section: type[BaseModel], name: str, schema: Mapping[str, Any]) -> str:
    field = section.model_fields[name]
    default = (
        "required"
        if field.is_required()
        else _by_recipe(section, name) or _default(field.get_default(call_default_factory=True))
    )
    searchable = ["" if name in CONSTANT_FIELDS else "yes"] if section in SPACE_SECTIONS else []
    meaning = " ".join(str(field.description).split())
    return _row(f"`{name}`", _type(schema), default, *searchable, meaning)


def _by_recipe(section: type[BaseModel], name: str) -> str:
    """Return the default of a key that recipes fill in, "" for another."""
    title = _title_of(section)
    usual = section.model_fields[name].get_default(call_default_factory=True)
    shown = {}
    for recipe, values in RECIPES.items():
        own = values.constants if title == "space" else values.sections.get(title, {})
        if name in own or name in FROM_ROWS.get(title, ()):
            shown[recipe] = _default(own[name]) if name in own else "follows from the rows"
    if not shown:
        return ""
    return "; ".join(
        f"{recipe}: {shown.get(recipe) or _default(usual) or 'none'}" for recipe in RECIPES
    )


def _title_of(section: type[BaseModel]) -> str:
    """Return the name of a section in a study file, "" for one without."""
    if section is OwnSpaceFields:
        return "space"
    fields = StudySections.model_fields.items()
    return next((name for name, key in fields if _section(key.annotation) is section), "")


def _default(value: Any) -> str:
    if value is None or value in ((), {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(schema: Mapping[str, Any]) -> str:
    """Return what a JSON schema allows, in words."""
    if "anyOf" in schema:
        kinds = [_type(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(
            "list of them" if f"list of {kinds[0]}" == each else each for each in kinds
        )
    if "$ref" in schema:
        return "table"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    if "type" not in schema:
        return "any"
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    limits = [
        f"{sign} {schema[key]:g}" for key, sign in LIMITS.items() if _is_small(schema.get(key))
    ]
    return " ".join([TYPES[schema["type"]], *[" and ".join(limits)]]).strip()


def _is_small(limit: float | None) -> bool:
    """Say whether a limit is worth printing: nobody needs to know where integers end."""
    return limit is not None and abs(limit) < 2**53


def metrics() -> str:
    """Return the registry of metrics."""
    units = {"share": "", "nats": "nats", "target": "unit of the target"}
    rows = [
        _row(
            f"`{name}`",
            metric.task,
            "minimised" if metric.is_minimised else "maximised",
            "{:g} to {:g}".format(*metric.bounds),
            units[metric.unit],
        )
        for name, metric in METRICS.items()
    ]
    head = [_row("metric", "task", "direction", "range", "unit"), _row(*["---"] * 5)]
    return "\n".join([*head, *rows])


def pruner_options() -> str:
    """Return the options of each pruner and the values they take."""
    head = [_row("pruner", "`pruner_options`"), _row("---", "---")]
    return "\n".join(
        [*head, *(_row(f"`{name}`", _options(kind)) for name, kind in OPTIONS.items())]
    )


def _options(kind: type[BaseModel]) -> str:
    return "; ".join(
        f"`{name}`, {field.description}{', required' if field.is_required() else ''}"
        for name, field in kind.model_fields.items()
    )


def commands() -> str:
    """Return what --help says of every command."""
    root: Any = typer.main.get_command(app)
    found = {
        f"{group} {name}".strip(): command
        for group, members in _groups(root).items()
        for name, command in members.items()
    }
    head = "| command | what it does |\n| --- | --- |"
    rows = [
        _row(f"[`selection {name}`](#selection-{name.replace(' ', '-')})", _first_line(each.help))
        for name, each in found.items()
    ]
    return "\n\n".join(["\n".join([head, *rows]), *(_help(name) for name in found)])


def _groups(root: Any) -> dict[str, dict[str, Any]]:
    groups = {
        name: each.commands for name, each in root.commands.items() if hasattr(each, "commands")
    }
    plain = {name: each for name, each in root.commands.items() if name not in groups}
    return {"": plain, **groups}


def _help(name: str) -> str:
    runner = typer.testing.CliRunner()
    words = [*name.split(), "--help"]
    result = runner.invoke(app, words, env={"COLUMNS": HELP_COLUMNS}, prog_name="selection")
    lines = [line.rstrip() for line in result.output.strip().splitlines()]
    return "\n".join([f"## selection {name}", "", "```text", *lines, "```"])


def public_names() -> str:
    """Return signature and docstring of every public name: functions, classes, errors."""
    found = {name: getattr(selection, name) for name in selection.__all__}
    errors = [name for name, each in found.items() if _is_error(each)]
    plain = sorted(
        found.keys() - set(errors), key=lambda name: (isinstance(found[name], type), name)
    )
    rows = [_row(f"`{name}`", _first_line(found[name].__doc__)) for name in errors]
    table = ["## Errors", "", "| error | when |", "| --- | --- |", *rows]
    return "\n\n".join([*(_public(name, found[name]) for name in plain), "\n".join(table)])


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _public(name: str, value: Any) -> str:
    node = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    parts = [_signature(node, f"selection.{name}", "##")]
    if isinstance(node, ast.ClassDef):
        parts += [
            _signature(each, f"{name}.{each.name}", "###")
            for each in node.body
            if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")
        ]
    return "\n\n".join(parts)


def _signature(node: ast.AST, name: str, heading: str) -> str:
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    text = name
    is_property = any(ast.unparse(each) == "property" for each in node.decorator_list)
    if isinstance(node, ast.FunctionDef) and not is_property:
        given = re.sub(r"^self(, )?", "", ast.unparse(node.args))
        text = f"{name}({given})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")
    text = "\n\n".join(filter(None, [text, ast.get_docstring(node)]))
    return "\n".join([f"{heading} {name}", "", "```text", text, "```"])


def imports() -> str:
    """Return the packages and what they import, as a Mermaid diagram.

    An arrow that follows from two others is left out.
    """
    edges = _package_imports()
    lines = ["```mermaid", "flowchart TD"]
    for package in _top_down(edges):
        below = edges[package]
        direct = [each for each in below if not any(each in edges[other] for other in below)]
        lines += [f"    {package} --> {each}" for each in sorted(direct)]
    return "\n".join([*lines, "```"])


@cache
def _package_imports() -> Mapping[str, frozenset[str]]:
    """Return for each package and file directly in selection/ all that it reaches by imports."""
    graph = grimp.build_graph("selection")
    children = graph.find_children("selection")
    modules = {each: {each} | graph.find_descendants(each) for each in children}
    owner = {module: each for each, inside in modules.items() for module in inside}
    direct = {
        each: {
            owner[target]
            for module in inside
            for target in graph.find_modules_directly_imported_by(module)
            if target in owner and owner[target] != each
        }
        for each, inside in modules.items()
    }
    return {
        each.removeprefix("selection."): frozenset(
            target.removeprefix("selection.") for target in _reached(each, direct)
        )
        for each in sorted(children)
        if not each.endswith("__main__")
    }


def _reached(start: str, direct: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = set(direct[start])
    while waiting:
        each = waiting.pop()
        found.add(each)
        waiting |= direct[each] - found
    return found - {start}


def _top_down(edges: Mapping[str, frozenset[str]]) -> list[str]:
    """Return all packages, each above whatever it imports."""
    return sorted(edges, key=lambda each: (-len(edges[each]), each))


def files() -> str:
    """Return every file with the first line of its docstring, package by package."""
    parts = []
    loose = []
    for name in _top_down(_package_imports()):
        if not (SOURCE / name).is_dir():
            loose.append(SOURCE / f"{name}.py")
            continue
        package = SOURCE / name
        paths = sorted(path for path in package.rglob("*.py") if path.name != "__init__.py")
        rows = [_row(f"`{path.relative_to(package)}`", _says(path)) for path in paths]
        title = f"### `{name}/`\n\n{_says(package / '__init__.py')}"
        parts.append("\n".join([title, "", "| file | what it is for |", "| --- | --- |", *rows]))
    rows = [_row(f"`{path.name}`", _says(path)) for path in sorted(loose)]
    title = "### Directly in `selection/`"
    return "\n\n".join(
        [*parts, "\n".join([title, "", "| file | what it is for |", "| --- | --- |", *rows])]
    )


def _says(path: Path) -> str:
    return _first_line(ast.get_docstring(ast.parse(path.read_text())))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


PARTS: Mapping[str, Callable[[], str]] = {
    "study keys": study_keys,
    "metrics": metrics,
    "pruner options": pruner_options,
    "schedules": schedules,
    "commands": commands,
    "public names": public_names,
    "imports": imports,
    "files": files,
}
PAGES = ("study-file.md", "cli.md", "python-api.md", "architecture.md")


def refreshed(page: str) -> str:
    """Return a page with all its generated parts as the code has them now."""

    def replace(found: re.Match[str]) -> str:
        return f"{found[1]}\n\n{PARTS[found[2]]()}\n\n{found[3]}"

    pattern = r"(<!-- generated: ([a-z ]+) -->)\n.*?(<!-- end -->)"
    return re.sub(pattern, replace, page, flags=re.DOTALL)


def main() -> None:
    """Rewrite the pages, or with --check end with 1 if one of them is stale."""
    stale = [name for name in PAGES if (text := (DOCS / name).read_text()) != refreshed(text)]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"docs: {', '.join(stale)} must follow the code. Run make docs.")
        return
    for name in stale:
        (DOCS / name).write_text(refreshed((DOCS / name).read_text()))
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
