"""The password of a database shows nowhere: a canary is planted, and looked for everywhere."""

from __future__ import annotations

import base64
import logging
import secrets
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import psutil
import psycopg
import pytest
from sqlalchemy.engine import make_url

from selection.errors import SelectionError
from tests.command_line import Cli
from tests.postgres_server import ThrowAwayServer, throw_away_server
from tests.team_bench import RUN, STUDY, TEAM, Team, Watch, wait_for

# Another one in each run, or runs beside each other would hear each other's.
CANARY = f"canary-PLANTED-{secrets.token_hex(4)}"
# Braces are what Optuna's URLs choke on, the others what a URL is made of.
MARKED = f"{{{CANARY}}}%@/:"


def spellings(password: str) -> set[bytes]:
    """Return the password in every spelling that may hide it; the canary itself is in most."""
    plain = password.encode()
    found = {CANARY.encode(), plain, quote(password, safe="").encode(), plain.hex().encode()}
    for secret in (plain, CANARY.encode()):
        found.add(secret.hex().encode())
        for shift in range(3):
            # In base64 a byte depends on its at modulo three; the ends on their neighbours.
            coded = base64.b64encode(bytes(shift) + secret)
            found.add(coded[-(-8 * shift // 6) : -4])
    return found


def leaks(password: str, texts: dict[str, bytes]) -> dict[str, bytes]:
    """Return the texts that hold the password in any spelling, cut to where it stands."""
    found = {}
    for name, text in texts.items():
        for spelling in spellings(password):
            if (at := text.find(spelling)) >= 0:
                found[name] = text[max(at - 80, 0) : at + 80]
    return found


@pytest.mark.parametrize("password", [CANARY, MARKED], ids=["letters", "marks"])
@pytest.mark.parametrize("before", ["", "a", "ab"])
def test_the_search_finds_what_is_planted(password: str, before: str) -> None:
    text = f"{before}{password} and more"
    hidden = {
        "raw": text.encode(),
        "url": quote(text, safe="").encode(),
        "base64": base64.b64encode(text.encode()),
        "hex": text.encode().hex().encode(),
    }
    assert leaks(password, hidden).keys() == hidden.keys()
    assert not leaks(password, {"other": b"postgresql+psycopg://canary:***@/test_0"})


def plant(server: ThrowAwayServer, password: str) -> None:
    """Make the user canary, whose password is really asked for."""
    with psycopg.connect(plain(server.new_database()), autocommit=True) as connection:
        secret = psycopg.sql.Literal(password)
        query = psycopg.sql.SQL("CREATE ROLE canary LOGIN SUPERUSER PASSWORD {}").format(secret)
        connection.execute(query)
        (rules,) = connection.execute("SHOW hba_file").fetchone() or ()
        path = Path(rules)
        path.write_text(f"local all canary scram-sha-256\n{path.read_text()}")
        connection.execute("SELECT pg_reload_conf()")


def plain(url: str) -> str:
    """Return a URL as psycopg reads it."""
    return url.replace("+psycopg", "")


def with_password(url: str, password: str) -> str:
    """Return the URL by which the user canary connects."""
    return url.replace("postgres@", f"canary:{quote(password, safe='')}@")


def read_tables(url: str) -> Iterator[tuple[str, bytes]]:
    """Return every row of every table as text."""
    with psycopg.connect(plain(url)) as connection:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' "
            "AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()
            yield f"table {table} of {url}", "\n".join(row for (row,) in rows).encode()


def read_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Return every file of a folder, and what compressed ones hold."""
    for path in filter(Path.is_file, folder.rglob("*")):
        yield f"file {path}", path.read_bytes()
        if path.suffix == ".parquet":
            yield f"rows of {path}", pd.read_parquet(path).to_csv().encode()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield f"file {name} in {path}", archive.read(name)


def command_line(pid: int) -> bytes:
    """Return the command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Eavesdropper:
    """Keep what the system and the server tell everyone of the processes at work.

    Not the command line of the process own: what the user typed stands there.
    """

    def __init__(self, url: str, own: int) -> None:
        self._url = plain(url)
        self._own = own
        self.commands: set[bytes] = set()
        self.queries: set[bytes] = set()

    def listen(self) -> None:
        """Keep what can be heard now."""
        heard = {command_line(pid) for pid in psutil.pids()}
        # A process that is being started is a copy of the one that starts it.
        self.commands |= heard - {command_line(self._own)}
        with psycopg.connect(self._url) as connection:
            query = "SELECT query, application_name FROM pg_stat_activity WHERE usename = 'canary'"
            self.queries |= {str(row).encode() for row in connection.execute(query)}


class Printed:
    """Keep what commands print, and the stacks of those that fail."""

    def __init__(self, cli: Cli, options: list[str]) -> None:
        self._cli = cli
        self._options = options
        self.texts: dict[str, bytes] = {}

    def run(self, *words: str) -> int:
        return self.run_at(*words, *self._options)

    def run_at(self, *words: str) -> int:
        """Run a command that names its database itself, if it needs one."""
        name = " ".join(words[:2])
        try:
            done = self._cli(*words)
        except SelectionError as error:
            # What Python prints of an error that nobody catches.
            self.keep(name, traceback.format_exc())
            return error.exit_code
        self.keep(name, done.out + done.err)
        return int(done.code)

    def keep(self, name: str, text: str) -> None:
        self.texts[f"{len(self.texts)}: {name}"] = text.encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("password", "is_typed"),
    [(CANARY, False), (MARKED, True)],
    ids=["letters, in the environment", "marks, typed"],
)
def test_a_password_shows_nowhere(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    password: str,
    is_typed: bool,
) -> None:
    Path("team.toml").write_text(STUDY)
    with throw_away_server() as server:
        plant(server, password)
        url, other = server.new_database(), server.new_database()
        secret = with_password(url, password)
        if not is_typed:
            monkeypatch.setenv("SELECTION_STORAGE", secret)
        options = [f"--storage={secret}"] if is_typed else []
        printed = Printed(cli, options)
        heard = run_and_kill(printed, Watch(url), tmp_path, options)
        caplog.set_level(logging.DEBUG)
        use_every_command(printed, with_password(other, password))
        tables = dict([*read_tables(url), *read_tables(other)])
        for words in (["delete", "team"], ["delete", "team", "--yes"]):
            assert printed.run(*words) == 0
        fail_in_every_way(printed, secret, password)
    # The server is stopped now.
    assert printed.run("status", "team") == 4
    assert printed.run("--debug", "run", "team.toml") == 4
    files = dict(read_files(tmp_path))

    seen = {f"command {text!r}": text for text in heard.commands}
    seen |= {f"query {text!r}": text for text in heard.queries}
    assert any(b"selection.workers.child" in text for text in heard.commands)
    assert heard.queries
    assert any(b'"team"' in text for text in tables.values())
    assert any("model.onnx" in name for name in files)
    assert any(b"canary:***@" in text for text in printed.texts.values())
    log = {"log": caplog.text.encode()}
    found = leaks(password, {**seen, **tables, **files, **printed.texts, **log})
    assert not found, "\n".join(f"{name}: {text!r}" for name, text in found.items())


def run_and_kill(printed: Printed, watch: Watch, folder: Path, options: list[str]) -> Eavesdropper:
    """Start two workers, listen until both train, and kill their driver."""
    team = Team(folder, watch, *TEAM, *options)
    heard = Eavesdropper(watch.url, team.process.pid)
    try:
        team.train(heard.listen)
    finally:
        team.process.kill()
        out, err = team.process.communicate()
    printed.keep("the run that was killed", out + err)
    wait_for(team.are_gone)
    return heard


def use_every_command(printed: Printed, other: str) -> None:
    """Go on with the study and do all that can be done with one."""
    for words in (
        [*RUN],
        [*RUN, "--json"],
        ["worker", "team"],
        ["status", "team"],
        ["status", "--json"],
        ["trials", "team", "-f", "csv"],
        ["learning-curves", "team", "--trial", "0"],
        ["studies"],
        ["best", "team"],
        ["best", "team", "--json"],
        ["evaluate", "team"],
        ["export", "team", "--to", "exports"],
        ["copy", "team", f"--to={other}"],
        ["db", "check"],
        ["db", "check", "--json"],
        ["db", "upgrade"],
        ["doctor"],
        ["doctor", "--fix", "--json"],
    ):
        assert printed.run(*words) == 0, printed.texts
    assert printed.run("evaluate", "team") == 3
    assert printed.run("worker", "team") == 3


def fail_in_every_way(printed: Printed, secret: str, password: str) -> None:
    """Name databases that cannot be had, and let some commands print their stack."""
    address = make_url(secret)
    wrong = [
        address.set(database="nowhere").render_as_string(hide_password=False),
        address.set(username="nobody").render_as_string(hide_password=False),
        address.set(username="canary", password=f"{password}!").render_as_string(
            hide_password=False
        ),
        address.set(query={"host": "/nowhere"}).render_as_string(hide_password=False),
        address.set(drivername="mysql").render_as_string(hide_password=False),
        f"postgresql+psycopg://canary:{quote(password, safe='')}@host:port/database",
        f"postgresql+psycopg://canary@/database?password={quote(password, safe='')}",
    ]
    # The first four name a server that does not answer so; the others cannot be an address of ours.
    codes = [4, 4, 4, 4, 1, 1, 1]
    for url, code in zip(wrong, codes, strict=True):
        for debug in ([], ["--debug"]):
            assert printed.run_at(*debug, "status", "team", f"--storage={url}") == code
            assert printed.run_at(*debug, "run", "team.toml", f"--storage={url}") == code
    assert printed.run_at("copy", "team", f"--storage={secret}", f"--to={wrong[0]}") == 4
    assert printed.run("--debug", "best", "unknown") == 1
