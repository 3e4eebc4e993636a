"""Every command that reads, on a finished study in a folder that cannot be written."""

from __future__ import annotations

from pathlib import Path

from tests.command_line import STUDY, Cli
from tests.read_only import read_only

READ = {
    "status": ["status", "small"],
    "trials": ["trials", "small"],
    "learning curves": ["learning-curves", "small", "--trial", "0"],
    "best": ["best", "small", "--json"],
    "diagnose": ["diagnose", "small"],
    "compare": ["compare", "small", "small"],
    "report": ["report", "small", "--to", "report.html"],
    "studies": ["studies"],
    "doctor": ["doctor"],
    "check": ["db", "check"],
    "copy": ["copy", "small", "--to", "sqlite:///copy.db"],
}
WRITTEN = {
    "run": ["run", "study.toml"],
    "enqueue": ["enqueue", "small", "--set", "width=3"],
    "evaluate": ["evaluate", "small"],
    "doctor --fix": ["doctor", "--fix"],
    "delete": ["delete", "small", "--yes"],
    "upgrade": ["db", "upgrade"],
}


def test_a_finished_study_can_be_read_and_not_written(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    study = STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy")
    Path("study.toml").write_text(study)
    assert cli("run", "study.toml", "--storage", f"sqlite:///{folder}/s.db").code == 0
    # Left by the writer, and not made by readers.
    (folder / "s.db.lock").unlink()
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    with read_only(folder) as point:
        storage = f"sqlite:///{point}/s.db"
        ends = {name: cli(*words, "--storage", storage) for name, words in READ.items()}
        assert {name: end.err for name, end in ends.items() if end.code} == {}
        assert Path("report.html").stat().st_size > 10_000
        for words in WRITTEN.values():
            end = cli(*words, "--storage", storage)
            assert end.code == 1
            assert "the folder of the database must be" in end.err.splitlines()[-1]
            assert "Traceback" not in end.err
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
