"""What is installed: the name, the version, the extras, the files, and who can import it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import selection
from selection.errors import DISTRIBUTION, install_command
from selection.report.export import EXTRAS
from selection.store.migrations import find_scripts
from selection.workflows.study_data import installed_versions

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "selection"
# Imports every module as on Windows, where Python lacks these and our code must do without them.
# Other people's packages look at sys.platform, which stays.
IMPORT_ALL_AS_ON_WINDOWS = """
import builtins, pkgutil, sys
ABSENT = {"fcntl", "grp", "posix", "pwd", "resource", "termios"}
import_anything = builtins.__import__

def import_as_on_windows(name, globals=None, *rest):
    importer = (globals or {}).get("__name__", "")
    if name.partition(".")[0] in ABSENT and importer.partition(".")[0] == "selection":
        raise ModuleNotFoundError(f"{importer} imports {name}", name=name)
    return import_anything(name, globals, *rest)

builtins.__import__ = import_as_on_windows
import selection
modules = [info.name for info in pkgutil.walk_packages(selection.__path__, "selection.")]
for name in modules:
    if not name.endswith("__main__"):
        import_anything(name)
print(len(modules))
"""
HIDE_TORCHVISION = "import sys; sys.modules['torchvision'] = sys.modules['torchvision.io'] = None\n"
# What Python has on POSIX systems alone.
POSIX_ONLY = re.compile(
    r"\bos\.(O_CLOEXEC|O_NOFOLLOW|pread|pwrite|fork|getuid|geteuid|getloadavg|sched_\w+|uname|killpg)\b"
    r"|\bsignal\.(SIGKILL|SIGHUP|SIGALRM|SIGUSR\d|pthread_\w+)\b"
)


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_distribution_is_ours_and_has_one_version() -> None:
    assert project()["name"] == DISTRIBUTION == "selection-sweep"
    assert selection.__version__ == version(DISTRIBUTION)


def test_record_keeps_the_name_of_the_import() -> None:
    versions = installed_versions()
    assert next(iter(versions)) == "selection"
    assert versions["selection"] == selection.__version__
    assert DISTRIBUTION not in versions


def test_command_prints_the_version() -> None:
    command = [sys.executable, "-m", "selection", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"selection {selection.__version__}\n", "")


def test_extras_are_optional_and_all_has_each_of_them() -> None:
    extras = project()["optional-dependencies"]
    users = set(extras) - {"all", "bench"}
    assert users == {"images", "onnx", "parquet", "postgres", "ray"}
    (everything,) = extras["all"]
    assert everything == f"{DISTRIBUTION}[{','.join(sorted(users))}]"
    needed = " ".join(project()["dependencies"])
    assert not re.search(r"torchvision|psycopg|pyarrow|onnx|\bray\b", needed)


def test_hints_name_the_right_distribution() -> None:
    assert install_command("onnx") == "pip install 'selection-sweep[onnx]'"
    assert set(EXTRAS) <= set(project()["optional-dependencies"])
    wrong = re.compile(r"pip install ['\"]?selection(?!-sweep)\b")
    files = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert [path.name for path in files if wrong.search(path.read_text())] == []


def test_migrations_are_found_in_a_wheel_and_in_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "selection" / "store"
    package.mkdir(parents=True)
    assert find_scripts(package) == tmp_path / "alembic"
    (package / "alembic").mkdir()
    assert find_scripts(package) == package / "alembic"
    assert (find_scripts(PACKAGE / "store") / "versions").is_dir()


def test_package_promises_its_types() -> None:
    assert (PACKAGE / "py.typed").read_bytes() == b""


@pytest.mark.slow
def test_every_module_can_be_imported_on_windows_and_without_torchvision() -> None:
    command = [sys.executable, "-c", HIDE_TORCHVISION + IMPORT_ALL_AS_ON_WINDOWS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nothing_of_posix_alone_is_used(path: Path) -> None:
    assert POSIX_ONLY.findall(path.read_text()) == []
