"""Finds the four files of Fashion-MNIST, fetches them once, and reads one part of them.

The content must have the SHA-256 known here. Decompressed files lie where torchvision puts them,
so either finds what the other fetched. A fetch verifies all four files; afterwards the files of
the held-out images are looked at by name and size only, until someone reads that part.
Source: Xiao, Rasul, Vollgraf (2017), arXiv:1708.07747; Debian's package dataset-fashion-mnist.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import re
import shutil
import socket
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selection.data.rows import Part
from selection.errors import DataError, ErrorDetail, install_command


@dataclass(frozen=True)
class IdxFile:
    """Hold what is known of the decompressed content of one file."""

    sha256: str
    size_bytes: int


# The published gzip files (md5 as in torchvision) and Debian's hold this same content.
FILES: Mapping[str, IdxFile] = {
    "train-images-idx3-ubyte": IdxFile(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 47_040_016
    ),
    "train-labels-idx1-ubyte": IdxFile(
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 60_008
    ),
    "t10k-images-idx3-ubyte": IdxFile(
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 7_840_016
    ),
    "t10k-labels-idx1-ubyte": IdxFile(
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 10_008
    ),
}
PART_FILES: Mapping[Part, tuple[str, str]] = {
    "development": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "held_out": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
NAME = "fashion_mnist"
RAW_FOLDER = Path("FashionMNIST", "raw")  # torchvision's layout
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CONNECT_SECONDS = 10.0
APT_SECONDS = 300.0


class _NotHereError(Exception):
    """One source does not have the files; the message says why."""


def fetch_fashion_mnist(folder: Path) -> Path:
    """Return the folder of the four decompressed files, fetched into the data folder if needed.

    Raises: DataError if a file there is damaged, the folder is not writable, or every source fails.
    """
    raw = folder / RAW_FOLDER
    missing = [name for name in FILES if not _is_there(raw, name)]
    if not missing:
        return raw
    tried = [f"(1) {raw} (no {missing[0]})"]
    with _work_folder(folder, raw) as work:
        if all((raw / f"{name}.gz").is_file() for name in missing):
            _install({name: _verified(raw / f"{name}.gz", name) for name in missing}, raw, work)
            return raw
        sources: tuple[Callable[[Path], Path], ...] = (
            _from_installed_package,
            _from_torchvision,
            _from_debian,
        )
        for number, source in enumerate(sources, start=2):
            try:
                found = source(work)
                contents = {name: _content_in(found, name) for name in missing}
            except _NotHereError as reason:
                tried.append(f"({number}) {reason}")
                continue
            _install(contents, raw, work)
            return raw
    hint = f"Put the four *-ubyte.gz files of Fashion-MNIST into {raw}."
    raise DataError(
        ErrorDetail(NAME, "one of its sources must have the files", "; ".join(tried), hint)
    )


def is_fetched(folder: Path) -> bool:
    """Say whether the data folder has the files, so that reading them fetches nothing."""
    return all(_is_there(folder / RAW_FOLDER, name) for name in FILES)


def read_fashion_mnist(folder: Path, part: Part) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read and verify the images and labels of one part; the other part stays closed.

    Shape: (N, 784) and (N,).
    """
    raw = fetch_fashion_mnist(folder)
    images, labels = (_parse_idx(_verified(raw / name, name)) for name in PART_FILES[part])
    return images.reshape(len(images), -1), labels.astype(np.int64)


def held_out_identity() -> str:
    """Return the identity of the official held-out images without opening them."""
    known = "/".join(FILES[name].sha256 for name in PART_FILES["held_out"])
    return hashlib.sha256(known.encode()).hexdigest()


def _is_there(raw: Path, name: str) -> bool:
    """Say whether a file is in the data folder; its size is known without opening it."""
    path = raw / name
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DataError(_no_access(raw, error)) from None
    if size != FILES[name].size_bytes:
        raise DataError(_damaged(path, f"{FILES[name].size_bytes} bytes", f"{size} bytes"))
    return True


def _damaged(path: Path, known: str, got: str) -> ErrorDetail:
    rule = f"the file must have the content of Fashion-MNIST ({known})"
    return ErrorDetail(str(path), rule, got, "Delete the file; the next run fetches it again.")


def _verified(path: Path, name: str) -> bytes:
    """Return the decompressed content of a file of the data folder."""
    try:
        content = _decompressed(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(_damaged(path, "readable", _one_line(error))) from None
    got = hashlib.sha256(content).hexdigest()
    if got != FILES[name].sha256:
        raise DataError(_damaged(path, f"SHA-256 {FILES[name].sha256[:12]}", got[:12]))
    return content


def _content_in(folder: Path, name: str) -> bytes:
    """Return the verified content of one file of a source, compressed or not."""
    for path in (folder / name, folder / f"{name}.gz"):
        if not path.is_file():
            continue
        try:
            return _verified(path, name)
        except DataError as error:
            detail = error.details[0]
            raise _NotHereError(f"{detail.where}: {detail.rule}, but got {detail.got}") from None
    raise _NotHereError(f"{folder} (no {name}.gz)")


def _decompressed(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    with gzip.open(path, "rb") as file:
        return file.read()


def _parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file: two zero bytes, type, axes; a length per axis; values."""
    axes = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=axes, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


@contextlib.contextmanager
def _work_folder(folder: Path, raw: Path) -> Iterator[Path]:
    """Lend a folder beside the files, so that what is done there can be moved in one step."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(
            dir=raw.parent, prefix=".fetch-", ignore_cleanup_errors=True
        )
    except OSError as error:
        raise DataError(_no_access(folder, error)) from None
    with work as path:
        yield Path(path).resolve()


def _no_access(folder: Path, error: OSError) -> ErrorDetail:
    hint = "Set SELECTION_DATA_DIR to a folder that you own."
    return ErrorDetail(str(folder), "the data folder must be writable", _one_line(error), hint)


def _install(contents: Mapping[str, bytes], raw: Path, work: Path) -> None:
    """Write each file whole or not at all: a killed fetch leaves nothing half-written."""
    try:
        for name, content in contents.items():
            (work / name).write_bytes(content)
            os.replace(work / name, raw / name)
    except OSError as error:
        raise DataError(_no_access(raw, error)) from None


def _from_installed_package(_work: Path) -> Path:
    if not DEBIAN_FOLDER.is_dir():
        raise _NotHereError(f"{DEBIAN_FOLDER} (package {DEBIAN_PACKAGE} is not installed)")
    return DEBIAN_FOLDER


def _from_torchvision(work: Path) -> Path:
    """Let torchvision download; it prints its progress, and our stdout is for results."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    silence = io.StringIO()
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            from torchvision import datasets  # imported here only: it takes seconds, and torch

            datasets.FashionMNIST(root=str(work), download=True)
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise _NotHereError(f"torchvision's download ({_one_line(error)})") from None
        reason = f"torchvision's download (not installed: {install_command('images')})"
        raise _NotHereError(reason) from None
    except Exception as error:  # what torchvision and the network may raise is not documented
        raise _NotHereError(f"torchvision's download ({_one_line(error)})") from None
    finally:
        socket.setdefaulttimeout(before)
    return work / RAW_FOLDER


def _from_debian(work: Path) -> Path:
    """Fetch and unpack the Debian package as an ordinary user."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise _NotHereError(f"{program} is not on this machine")
    try:
        _run(["apt-get", "-q", "download", DEBIAN_PACKAGE], work)
    except _NotHereError:
        # The system's package lists are empty or stale, and only root may renew them: use our own.
        for name in ("lists/partial", "cache/archives/partial"):
            (work / name).mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
        with contextlib.suppress(_NotHereError):  # one dead mirror of many is no matter
            _run(["apt-get", "-q", *own, "update"], work)
        _run(["apt-get", "-q", *own, "download", DEBIAN_PACKAGE], work)
    packages = sorted(work.glob(f"{DEBIAN_PACKAGE}_*.deb"))
    if not packages:
        raise _NotHereError(f"apt-get download {DEBIAN_PACKAGE} (left no file)")
    _run(["dpkg", "-x", packages[-1].name, "package"], work)
    return work / "package" / DEBIAN_FOLDER.relative_to("/")


def _run(command: list[str], folder: Path) -> None:
    name = " ".join(word for word in command if not word.startswith(("-q", "-o", "Dir::")))
    try:
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=APT_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("E:")]
        reason = lines[0] if lines else f"exit code {error.returncode}"
        raise _NotHereError(f"{name} ({_one_line(reason)})") from None
    except subprocess.TimeoutExpired:
        raise _NotHereError(f"{name} (not done in {APT_SECONDS:.0f} seconds)") from None
    except OSError as error:
        raise _NotHereError(f"{name} ({_one_line(error)})") from None


def _one_line(reason: object) -> str:
    """Return a short reason without line ends and without the user part of a URL."""
    if isinstance(reason, OSError) and reason.strerror:
        reason = reason.strerror
    text = " ".join(str(reason).split()) or type(reason).__name__
    text = re.sub(r"//[^/@\s]*@", "//", text)
    return text if len(text) <= 160 else f"{text[:157]}..."
