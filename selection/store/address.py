"""The address of a database: reads a storage URL and refuses those that are not safe to use.

Also turns the errors of a database into our errors of one line. Never connects and never shows a
password.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from alembic.util import CommandError
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError

from selection.errors import (
    BusyError,
    ErrorDetail,
    StorageError,
    UnreachableError,
    install_command,
    show,
)

SPELLINGS = "Write sqlite:///FILE.db or postgresql+psycopg://USER@HOST/DATABASE."
KEEP_SECRET = "Keep it in a libpq service or password file: postgresql+psycopg:///?service=NAME."
SECRET_KEYS = ("password", "sslpassword")


@dataclass(frozen=True)
class Address:
    """Hold a checked storage URL; printed, it hides its password."""

    url: URL

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def __repr__(self) -> str:
        return f"Address({self})"

    @property
    def secret_url(self) -> str:
        """The URL with its password, for connecting; never to be printed.

        Braces are percent-encoded: Optuna would take them for a template.
        """
        return self.url.render_as_string(hide_password=False)

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database; None for a server."""
        return sqlite_path(self.url) if self.url.get_backend_name() == "sqlite" else None

    def error(self, rule: str, got: str, hint: str) -> StorageError:
        """Return an error about this database."""
        return StorageError(ErrorDetail(str(self), rule, got, hint))


def sqlite_path(url: URL) -> Path:
    """Return the file of an SQLite URL, which may also be written as file:NAME."""
    name = url.database or ""
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


def read_address(text: str) -> Address:
    """Read and check a storage URL.

    Raises: StorageError.
    """
    try:
        address = Address(make_url(text))
    except (ArgumentError, ValueError):
        # In a text that cannot be parsed, the password cannot be found and hidden.
        shown = "a URL that cannot be parsed" if "@" in text or "=" in text else show(text)
        raise StorageError(
            ErrorDetail("storage", "the storage must be a database URL", shown, SPELLINGS)
        ) from None
    url = address.url
    if secret := next((key for key in SECRET_KEYS if key in url.query), None):
        rule = "a URL must not have a password among its options, where logs would show it"
        raise StorageError(ErrorDetail(_without_query(url), rule, f"?{secret}=...", KEEP_SECRET))
    if url.drivername == "postgresql+psycopg":
        return address
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        rule = "the database must be SQLite, or PostgreSQL through psycopg"
        raise address.error(rule, show(url.drivername), SPELLINGS)
    if url.database in (None, "", ":memory:"):
        raise address.error(
            "the database must be a file that outlives the process", "no file", SPELLINGS
        )
    return address


def _without_query(url: URL) -> str:
    return url.set(query={}).render_as_string(hide_password=True)


def require_file(address: Address, *, create: bool) -> None:
    """Refuse an SQLite file that does not exist, or that is a folder.

    Raises: StorageError.
    """
    path = address.path
    if path is None:
        return
    if path.is_dir():
        raise address.error("the database must be a file", "a folder", "Name a file in it.")
    if not path.parent.is_dir():
        raise address.error(
            "the folder of the database must exist",
            show(str(path.parent)),
            "Create it, or name another.",
        )
    if not create and not path.exists():
        raise address.error(
            "the database must exist", "no such file", "Run a study first: selection run FILE."
        )


# SQLSTATEs after which a retry may succeed: the server restarts, has closed the connection, or has
# ended one of two transactions that wait for each other.
AWAY_STATES = ("08", "57P01", "57P02", "57P03", "25P03")
BUSY_STATES = ("40001", "40P01", "55P03", "57014")
REACHABLE = (
    "the server must be reachable",
    "Start the server, or check host, user and database.",
)
BUSY = ("the server must respond in time", "Try again when it is less busy.")
# Rule and hint by the start of SQLite's error name or of PostgreSQL's SQLSTATE.
DISK_FULL = ("the disk must have room", "Free some space and run the same command again.")
RULES: Mapping[str, tuple[str, str]] = {
    "SQLITE_NOTADB": (
        "the file must be an SQLite database",
        "Name another file, or restore a backup.",
    ),
    "SQLITE_CORRUPT": ("the database must be undamaged", "Restore the file from a backup."),
    "SQLITE_CANTOPEN": (
        "the database file must be readable",
        "Check that the folder exists and who owns the file.",
    ),
    "SQLITE_READONLY": (
        "the database must be writable",
        "Make the file writable, or copy it elsewhere.",
    ),
    "SQLITE_BUSY": (
        "one process writes an SQLite database at a time",
        "Wait for the other process, or use PostgreSQL for several workers.",
    ),
    "SQLITE_FULL": DISK_FULL,
    "25006": ("the database must be writable", "Name a server that accepts writes."),
    "53100": DISK_FULL,
}


@contextmanager
def errors_at(address: Address) -> Iterator[None]:
    """Turn every error of the database into a StorageError of one line.

    A violated constraint is a bug of ours and keeps its stack.
    """
    try:
        yield
    except (DBAPIError, StorageInternalError, CommandError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        if isinstance(cause, IntegrityError | DataError):
            raise
        got = _one_line(cause, address)
        if _is_passing(cause):
            rule, hint = REACHABLE
            if _sqlstate(cause).startswith(BUSY_STATES):
                rule, hint = BUSY
            raise UnreachableError(ErrorDetail(str(address), rule, got, hint)) from None
        code = _sqlstate(cause) or _sqlite_error_name(cause)
        if code.startswith("SQLITE_BUSY"):
            rule, hint = RULES["SQLITE_BUSY"]
            raise BusyError(ErrorDetail(str(address), rule, got, hint)) from None
        fallback = ("the database must carry out what it is asked to do", "Run selection db check.")
        rule, hint = next((RULES[key] for key in RULES if code.startswith(key)), fallback)
        raise address.error(rule, got, hint) from None
    except OSError as error:
        rule = "the folder of the database must be accessible"
        hint = "Check its permissions, or name another."
        raise address.error(rule, error.strerror or str(error), hint) from None
    except ImportError as error:
        if "psycopg" not in f"{error.name} {error}" and "pq wrapper" not in str(error):
            raise
        rule = "PostgreSQL needs the package psycopg"
        hint = f"Install it: {install_command('postgres')}."
        raise address.error(rule, "no such package", hint) from None


def _sqlstate(error: BaseException | None) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _sqlite_error_name(error: BaseException | None) -> str:
    """Return what SQLite calls the error, such as SQLITE_READONLY_DBMOVED; empty for others."""
    return getattr(getattr(error, "orig", None), "sqlite_errorname", None) or ""


def _is_passing(error: BaseException | None) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    state = _sqlstate(error)
    # A connection that was refused has no SQLSTATE.
    is_refused = isinstance(error, OperationalError) and _is_of_server(error)
    is_passing = state.startswith((*AWAY_STATES, *BUSY_STATES)) if state else is_refused
    return error.connection_invalidated or is_passing


def _is_of_server(error: DBAPIError) -> bool:
    return type(error.orig).__module__.startswith("psycopg")


def _one_line(error: BaseException | None, address: Address) -> str:
    text = str(error.orig if isinstance(error, DBAPIError) and error.orig else error)
    line = text.strip().partition("\n")[0].strip().rstrip(".")
    password = address.url.password
    return line.replace(str(password), "***") if password else line
