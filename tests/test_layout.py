"""Rules that no linter knows: nothing is unpickled, and the contracts hold the door."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("selection", "alembic", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
# What can run code that lies in a file.
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {
    "torch.load", "torch.save", "torch.jit.load", "joblib.load", "np.load", "numpy.load",
    "pd.read_pickle", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip
NAMES = {"eval", "exec", "__import__"}


def unpickling(text: str) -> list[str]:
    """Return every import and call that could run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names = [node.func.id] if node.func.id in NAMES else []
        elif isinstance(node, ast.keyword):
            names = ["pickle"] if node.arg == "allow_pickle" else []
        else:
            continue
        found += [
            name for name in names if name in CALLS | NAMES or name.partition(".")[0] in MODULES
        ]
    return found


# What a driver sends its own workers, over a pipe or Ray's object store; never a file.
BETWEEN_OUR_PROCESSES = {
    *(f"selection/workers/{name}.py" for name in ("local", "ray", "ray_actor")),
    "benchmarks/replayed_workers.py",
}


def test_no_file_is_unpickled_anywhere() -> None:
    assert len(SOURCES) > 60
    found = {path.relative_to(ROOT).as_posix() for path in SOURCES if unpickling(path.read_text())}
    assert found == BETWEEN_OUR_PROCESSES


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "from joblib import load",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import yaml\nyaml.load('x')",
        "eval('1')",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert unpickling(text)


def test_only_the_evaluation_imports_the_door() -> None:
    graph = grimp.build_graph("selection")
    assert graph.find_modules_that_directly_import("selection.data.held_out") == {
        "selection.workflows.evaluate"
    }
    assert graph.find_modules_that_directly_import("selection.data.split") == {
        "selection.data.dataset",
        "selection.data.held_out",
    }


def test_the_contract_that_holds_the_door_is_on() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    protected = {
        module: contract["allowed_importers"]
        for contract in contracts["contracts"]
        if contract["type"] == "protected"
        for module in contract["protected_modules"]
    }
    assert protected["selection.data.held_out"] == ["selection.workflows.evaluate"]


def test_every_heavy_library_is_protected() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    protected = {
        module
        for contract in contracts["contracts"]
        if contract["type"] == "protected"
        for module in contract["protected_modules"]
    }
    heavy = {"torch", "sqlalchemy", "alembic", "optuna", "onnx", "plotly", "jinja2", "starlette"}
    assert heavy <= protected
