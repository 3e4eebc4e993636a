"""Fashion-MNIST is found, fetched, verified; the held-out files stay closed."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from selection.data import fashion_mnist
from selection.data.dataset import load_development
from selection.data.fashion_mnist import IdxFile, fetch_fashion_mnist, read_fashion_mnist
from selection.errors import DataError
from selection.study.spec import StudySpec

Files = dict[str, bytes]
OPENED: list[str] = []
REAL_TORCHVISION = fashion_mnist._from_torchvision
SOURCES = ("_from_installed_package", "_from_torchvision", "_from_debian")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        OPENED.append(str(arguments[0]))


sys.addaudithook(_audit)


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Make four small IDX files and tell the code that these are the known ones."""
    generator = np.random.default_rng(0)
    made = {}
    for part, rows in (("train", 40), ("t10k", 20)):
        images = generator.integers(0, 256, size=(rows, 28, 28), dtype=np.uint8)
        made[f"{part}-images-idx3-ubyte"] = idx(images)
        made[f"{part}-labels-idx1-ubyte"] = idx(np.arange(rows, dtype=np.uint8) % 10)
    known = {
        name: IdxFile(hashlib.sha256(content).hexdigest(), len(content))
        for name, content in made.items()
    }
    monkeypatch.setattr(fashion_mnist, "FILES", known)
    return made


@pytest.fixture
def no_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SOURCES:
        monkeypatch.setattr(fashion_mnist, name, refuse(name))


def refuse(reason: str) -> Callable[[Path], Path]:
    def source(_work: Path) -> Path:
        raise fashion_mnist._NotHereError(reason)

    return source


def put(folder: Path, files: Files, compressed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def raw(data: Path) -> Path:
    return data / "FashionMNIST" / "raw"


def contents(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def fashion(study: Callable[..., StudySpec]) -> StudySpec:
    return study({"dataset": "fashion_mnist", "prepare": "scale"})


@pytest.mark.usefixtures("no_sources")
def test_files_in_the_data_folder_are_used(tmp_path: Path, files: Files) -> None:
    put(raw(tmp_path), files)
    assert fetch_fashion_mnist(tmp_path) == raw(tmp_path)
    images, labels = read_fashion_mnist(tmp_path, "development")
    expected = np.frombuffer(files["train-images-idx3-ubyte"], np.uint8, offset=16)
    np.testing.assert_array_equal(images, expected.reshape(40, 784))
    np.testing.assert_array_equal(labels, np.arange(40) % 10)
    assert (images.dtype, labels.dtype) == (np.dtype(np.uint8), np.dtype(np.int64))


@pytest.mark.usefixtures("no_sources")
def test_development_rows_leave_the_held_out_files_closed(
    tmp_path: Path, files: Files, fashion: StudySpec
) -> None:
    put(raw(tmp_path), files)
    OPENED.clear()
    dataset = load_development(fashion, tmp_path)
    opened = [Path(path).name for path in OPENED]
    assert [name for name in opened if "t10k" in name] == []
    assert len([name for name in opened if "train" in name]) == 2
    assert dataset.features.shape == (40, 784)
    assert len(dataset.feature_names) == 784
    assert dataset.held_out_rows == 10_000
    assert dataset.class_names[9] == "Ankle boot"
    assert dataset.held_out_fingerprint == fashion_mnist.held_out_identity()
    np.testing.assert_array_equal(read_fashion_mnist(tmp_path, "held_out")[1], np.arange(20) % 10)


@pytest.mark.usefixtures("no_sources")
def test_compressed_files_put_there_by_hand_are_unpacked(tmp_path: Path, files: Files) -> None:
    put(raw(tmp_path), files, compressed=True)
    fetch_fashion_mnist(tmp_path)
    assert {name: (raw(tmp_path) / name).read_bytes() for name in files} == files


def test_installed_package_is_copied_once(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = put(tmp_path / "usr", files, compressed=True)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", package)
    fetch_fashion_mnist(tmp_path / "data")
    assert contents(raw(tmp_path / "data")) == files
    assert os.listdir(tmp_path / "data" / "FashionMNIST") == ["raw"]
    for path in package.iterdir():
        path.unlink()
    package.rmdir()
    assert fetch_fashion_mnist(tmp_path / "data") == raw(tmp_path / "data")


@pytest.mark.usefixtures("no_sources")
def test_sources_are_tried_in_order_and_only_missing_files_are_installed(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    damaged = {**files, "t10k-labels-idx1-ubyte": b"another"}
    folders = (put(tmp_path / "damaged", damaged), put(tmp_path / "whole", files))

    def source(number: int) -> Callable[[Path], Path]:
        def answer(_work: Path) -> Path:
            asked.append(number)
            return folders[number]

        return answer

    monkeypatch.setattr(fashion_mnist, "_from_installed_package", source(0))
    monkeypatch.setattr(fashion_mnist, "_from_torchvision", source(1))
    put(raw(tmp_path), {name: files[name] for name in list(files)[:1]})
    before = (raw(tmp_path) / "train-images-idx3-ubyte").stat()
    fetch_fashion_mnist(tmp_path)
    assert asked == [0, 1]
    assert contents(raw(tmp_path)) == files
    assert (raw(tmp_path) / "train-images-idx3-ubyte").stat() == before


@pytest.mark.usefixtures("no_sources")
def test_all_sources_failing_is_one_error_that_lists_them(
    tmp_path: Path, fashion: StudySpec
) -> None:
    with pytest.raises(DataError) as caught:
        load_development(fashion, tmp_path)
    assert len(caught.value.details) == 1
    message = str(caught.value)
    assert "\n" not in message
    expected = f"(1) {raw(tmp_path)} (no train-images-idx3-ubyte)"
    for number, name in enumerate(SOURCES, start=2):
        expected += f"; ({number}) {name}"
    assert expected in message
    assert message.endswith(f"Put the four *-ubyte.gz files of Fashion-MNIST into {raw(tmp_path)}.")
    assert contents(raw(tmp_path)) == {}


@pytest.mark.usefixtures("no_sources")
@pytest.mark.parametrize("part", ["train", "t10k"])
def test_file_of_another_size_is_refused_unopened(tmp_path: Path, files: Files, part: str) -> None:
    name = f"{part}-images-idx3-ubyte"
    put(raw(tmp_path), {**files, name: files[name][:-1]})
    OPENED.clear()
    with pytest.raises(DataError, match=rf"{name}: .* bytes\. Delete the file") as caught:
        read_fashion_mnist(tmp_path, "development")
    assert "\n" not in str(caught.value)
    assert not any(name in path for path in OPENED)


@pytest.mark.usefixtures("no_sources")
def test_file_of_another_content_is_refused(tmp_path: Path, files: Files) -> None:
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        content = bytearray(files[name])
        content[-1] ^= 1
        put(raw(tmp_path), {**files, name: bytes(content)})
        part: Literal["development", "held_out"] = (
            "development" if name.startswith("train") else "held_out"
        )
        with pytest.raises(DataError, match=rf"{name}: .*SHA-256 .*Delete the file"):
            read_fashion_mnist(tmp_path, part)


@pytest.mark.usefixtures("no_sources")
def test_half_written_archive_is_refused(tmp_path: Path, files: Files) -> None:
    put(raw(tmp_path), files, compressed=True)
    path = raw(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: .*Delete the file"):
        fetch_fashion_mnist(tmp_path)
    assert not (raw(tmp_path) / "train-images-idx3-ubyte").exists()


def test_folder_that_cannot_be_made_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the data folder must be writable") as caught:
        fetch_fashion_mnist(tmp_path / "file" / "data")
    assert "SELECTION_DATA_DIR" in str(caught.value)


def test_full_disk_leaves_no_half_file(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", put(tmp_path / "usr", files))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        fetch_fashion_mnist(tmp_path / "data")
    assert contents(raw(tmp_path / "data")) == {}
    assert os.listdir(tmp_path / "data" / "FashionMNIST") == ["raw"]


def torchvision_that(fetch: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    def constructor(root: str, download: bool) -> None:
        assert download
        fetch(root)

    module = ModuleType("torchvision")
    module.datasets = SimpleNamespace(FashionMNIST=constructor)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", module)
    monkeypatch.setattr(fashion_mnist, "_from_torchvision", REAL_TORCHVISION)


@pytest.mark.usefixtures("no_sources")
def test_torchvision_downloads_in_silence(
    tmp_path: Path,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    timeouts = []

    def download(root: str) -> None:
        timeouts.append(socket.getdefaulttimeout())
        print("Downloading ...")
        print("100%", file=sys.stderr)
        put(raw(Path(root)), files)

    torchvision_that(download, monkeypatch)
    fetch_fashion_mnist(tmp_path)
    assert contents(raw(tmp_path)) == files
    assert capsys.readouterr() == ("", "")
    assert timeouts == [fashion_mnist.CONNECT_SECONDS]
    assert socket.getdefaulttimeout() is None


@pytest.mark.usefixtures("no_sources")
def test_absent_torchvision_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "_from_torchvision", REAL_TORCHVISION)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DataError) as caught:
        fetch_fashion_mnist(tmp_path)
    hint = "(3) torchvision's download (not installed: pip install 'selection-sweep[images]');"
    assert hint in str(caught.value)


@pytest.mark.usefixtures("no_sources")
def test_torchvision_failing_is_one_reason_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def download(_root: str) -> None:
        raise RuntimeError("Error downloading:\nTried http://me:secret@proxy/\nno route")

    torchvision_that(download, monkeypatch)
    with pytest.raises(DataError) as caught:
        fetch_fashion_mnist(tmp_path)
    reason = "Error downloading: Tried http://proxy/ no route"
    assert f"(3) torchvision's download ({reason}); (4)" in str(caught.value)


APT_GET = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *update*) exit 100 ;;
  *Dir::State::Lists=*download*) [ -d lists/partial ] && : > dataset-fashion-mnist_1_all.deb ;;
  *) echo "E: Unable to locate package dataset-fashion-mnist" >&2; exit 100 ;;
esac
"""
DPKG = """#!/bin/sh
[ "$1" = -x ] && [ -f "$2" ] && mkdir -p "$3/usr/share/datasets" \\
    && cp -r {package} "$3/usr/share/datasets/fashion-mnist"
"""


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(script)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(fashion_mnist, "_from_torchvision", refuse("no network"))
    monkeypatch.setattr(fashion_mnist, "_from_installed_package", refuse("not installed"))


def test_debian_package_is_unpacked_without_root_and_with_own_lists(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, log = put(tmp_path / "package", files, compressed=True), tmp_path / "log"
    scripts = {"apt_get": APT_GET.format(log=log), "dpkg": DPKG.format(package=package)}
    programs(tmp_path / "bin", monkeypatch, **scripts)
    monkeypatch.chdir(tmp_path)
    fetch_fashion_mnist(Path("data"))  # the default data folder is a relative path
    assert contents(raw(tmp_path / "data")) == files
    assert os.listdir(tmp_path / "data" / "FashionMNIST") == ["raw"]
    lines = log.read_text().splitlines()
    assert lines[0] == "-q download dataset-fashion-mnist"
    assert [line.split()[-1] for line in lines] == [
        "dataset-fashion-mnist",
        "update",
        "dataset-fashion-mnist",
    ]
    assert f"Dir::State::Lists={tmp_path}/data/FashionMNIST/.fetch-" in lines[1]


def test_apt_failing_gives_its_own_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = "#!/bin/sh\necho 'W: slow' >&2\necho 'E: Unable to locate package' >&2\nexit 100\n"
    programs(tmp_path / "bin", monkeypatch, apt_get=broken, dpkg="#!/bin/sh\n")
    expected = r"\(4\) apt-get download dataset-fashion-mnist \(E: Unable to locate package\)"
    with pytest.raises(DataError, match=expected):
        fetch_fashion_mnist(tmp_path / "data")


def test_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match=r"\(4\) apt-get is not on this machine"):
        fetch_fashion_mnist(tmp_path / "data")
