"""The documentation follows the code: generated pages, descriptions of keys, links, words."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from selection.errors import StudyFileError
from selection.study.fields import StudySections
from selection.study.hyperparameters import CONSTANT_FIELDS, SPACE_SECTIONS, section_of, space_names
from selection.study.spec import parse_study

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
WRITTEN = sorted(
    [*PAGES, ROOT / "Makefile", *ROOT.glob("studies/**/*.toml"), *ROOT.glob("benchmarks/*.py")]
)
RETIRED = r"mend(?:s|ed|ing)?|verbs?|rivals?|told|mourns?|house|rooms?|faults?"
OWN_KEYS = {"width": 8, "dropout": 0.1, "weight_decay": 0.1, "l2": 0.1, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The script that writes the generated parts."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_follow_the_code() -> None:
    words = [sys.executable, "docs/generate.py", "--check"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_stale_page_is_noticed(generator: ModuleType) -> None:
    page = (DOCS / "study-file.md").read_text()
    stale = page.replace("Number of folds.", "Number of forks.")
    assert stale != page
    assert generator.refreshed(stale) == page


def test_every_page_with_generated_parts_is_checked(generator: ModuleType) -> None:
    pages = [page.name for page in DOCS.glob("*.md") if "<!-- generated:" in page.read_text()]
    assert sorted(pages) == sorted(generator.PAGES)


def test_every_key_of_a_study_file_says_what_it_means(generator: ModuleType) -> None:
    sections = [generator._section(key.annotation) for key in StudySections.model_fields.values()]
    for section in {each for each in sections if each} | set(SPACE_SECTIONS):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"


@pytest.mark.parametrize("name", space_names())
def test_a_key_is_searchable_where_the_reference_says_so(name: str) -> None:
    default = section_of(name).model_fields[name].get_default()
    value = OWN_KEYS.get(name, 1 if default is None else default)
    needs: dict[str, dict[str, Any]] = {"nesterov": {"momentum": 0.9}, "l2": {"optimizer": "adam"}}
    space = {name: value, **needs.get(name, {})}
    content = {"name": "s", "data": {"dataset": "iris"}, "space": space, "search": {"trials": 1}}
    try:
        parse_study(content, "s.toml")
        is_refused = False
    except StudyFileError:
        is_refused = True
    assert is_refused == (name in CONSTANT_FIELDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_named_exists(page: Path) -> None:
    folders = "selection|tests|docs|studies|benchmarks|alembic|examples"
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text()):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_retired_word_is_used(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert re.findall(rf"\b(?:{RETIRED})\b", prose, re.IGNORECASE) == []
