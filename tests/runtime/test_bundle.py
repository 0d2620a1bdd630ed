"""The bundle folder: nothing in it is run unless it is what was exported."""

from __future__ import annotations

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fdan_edge.errors import BundleError
from fdan_edge.runtime.bundle import MANIFEST, MODEL, Bundle, new_bundle, write_manifest
from tests.helpers.bundles import artifact, manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small bundle of two files."""
    path = tmp_path / "b"
    path.mkdir()
    (path / MODEL).write_bytes(b"model")
    (path / "model.rtx.engine").write_bytes(b"engine")
    write_manifest(path, manifest(artifact(path / MODEL)))
    return path


def fails(path: Path, name: str = MODEL) -> str:
    """The one-line error of looking for a file in a bundle."""
    with pytest.raises(BundleError) as caught:
        Bundle.open(path).file(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_whole_bundle(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.path == folder
    assert bundle.artifacts == (artifact(folder / MODEL),)
    assert bundle.engines == ()
    assert bundle.manifest.files["model.onnx"].bytes == 5
    assert bundle.file(MODEL) == folder / "model.onnx"
    assert bundle.read("model.rtx.engine") == b"engine"
    bundle.verify()


def test_a_path_as_text(folder: Path) -> None:
    assert Bundle.open(str(folder)) == Bundle.open(folder)


@pytest.mark.parametrize("name", [MODEL, "model.rtx.engine"])
def test_verify_looks_at_every_file(folder: Path, name: str) -> None:
    bundle = Bundle.open(folder)
    (folder / name).write_bytes(b"another")
    with pytest.raises(BundleError, match=f"{name}: changed since its export"):
        bundle.verify()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle or file; `fdan-edge export RUN --out"):
        Bundle.open(tmp_path / "none")


def test_not_a_bundle(tmp_path: Path) -> None:
    assert f"{tmp_path}: not a bundle (no bundle.json)" in fails(tmp_path)


def test_changed_since_the_export(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"modeI")
    assert "model.onnx: changed since its export" in fails(folder)


def test_missing_file(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    assert fails(folder) == f"{folder / 'model.onnx'}: missing from the bundle"
    assert "model.trt.engine is not in its bundle.json; it holds model.onnx, model.rtx.engine" in fails(
        folder, "model.trt.engine"
    )


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (4, "made by a later fdan-edge (schema 4 > 3); update this one"),
        (
            2,
            "made by an earlier fdan-edge (schema 2 < 3); export it anew to another folder: `fdan-edge export RUN",
        ),
        (
            1,
            "made by an earlier fdan-edge (schema 1 < 3); export it anew to another folder: `fdan-edge export RUN",
        ),
    ],
)
def test_other_schemas(folder: Path, schema: int, reason: str) -> None:
    (folder / "bundle.json").write_text(json.dumps({"schema": schema, "parts": []}))
    assert reason in fails(folder)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "5",
        '"x"',
        "{}",
        '{"schema": "x"}',
        '{"schema": true}',
        '{"schema": 0}',
        "\xff",
        "[" * 100_000,
    ],
    ids=lambda content: content[:20],
)
def test_damaged_manifest(folder: Path, content: str) -> None:
    (folder / "bundle.json").write_bytes(content.encode("latin-1"))
    assert fails(folder).startswith(f"{folder / 'bundle.json'}: damaged: ")


def make(target: Path, content: str, error: type[Exception] | None = None) -> None:
    """Write a bundle with one file, or fail on the way."""
    with new_bundle(target) as folder:
        (folder / MODEL).write_text(content)
        if error:
            raise error
        write_manifest(folder, manifest(artifact(folder / MODEL)))


def test_new_bundle_replaces_an_old_one_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "b"
    make(target, "one")
    make(target, "two")
    assert (target / MODEL).read_text() == "two"
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(target.parent.iterdir()) == [target]


def test_a_reader_meanwhile_has_one_or_the_other_bundle(tmp_path: Path) -> None:
    target = tmp_path / "b"
    contents = [str(number) * 50_000 for number in (1, 2)]
    make(target, contents[0])
    ended = threading.Event()

    def read() -> list[str]:
        wrong = []
        while not ended.is_set():
            try:
                bundle = Bundle.open(target)
                content = bundle.read(MODEL).decode()
                wrong += [] if content in contents else ["a mixture"]
            except BundleError as error:  # exchanged between manifest and file
                wrong += [] if "changed since its export" in str(error) else [str(error)]
        return wrong

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for number in range(30):
            make(target, contents[number % 2])
        ended.set()
        assert reader.result() == []


def test_new_bundle_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    make(tmp_path / "b", "one")
    assert Bundle.open(tmp_path / "b").read(MODEL) == b"one"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_bundle(tmp_path: Path, error: type[Exception]) -> None:
    make(tmp_path / "b", "one")
    with pytest.raises(error):
        make(tmp_path / "b", "two", error)
    assert Bundle.open(tmp_path / "b").read(MODEL) == b"one"
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_two_exports_into_one_place(tmp_path: Path) -> None:
    make(tmp_path / "b", "one")
    with new_bundle(tmp_path / "b") as folder:
        with pytest.raises(BundleError, match=r"b: another process writes it now; wait, or name another --out$"):
            make(tmp_path / "b", "two")
        (folder / MODEL).write_text("three")
        write_manifest(folder, manifest(artifact(folder / MODEL)))
    assert Bundle.open(tmp_path / "b").read(MODEL) == b"three"
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_bundle_is_not_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "b"
    if kind == "folder":
        target.mkdir()
    mine = target / "thesis.tex" if kind == "folder" else target
    mine.write_text("mine")
    with pytest.raises(BundleError, match="exists and is not a bundle; name another --out"):
        make(target, "one")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_bundle_with_a_foreign_file_is_not_replaced(folder: Path, kind: str) -> None:
    mine = folder / "notes.txt"
    mine.mkdir() if kind == "folder" else mine.write_text("mine")
    with pytest.raises(BundleError, match=r"holds files that are not the bundle's: notes\.txt; move them first"):
        make(folder, "one")
    assert mine.exists()
    assert (folder / MODEL).read_bytes() == b"model"


def test_a_damaged_bundle_is_not_replaced(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        make(folder, "one")
    assert (folder / MODEL).read_bytes() == b"model"


@pytest.mark.parametrize("name", [".", "../b", "link"])
def test_the_current_folder_is_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(folder)
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(BundleError, match="is the current folder, which cannot be replaced; name another --out"):
        make(folder.parent / name if name == "link" else Path(name), "one")
    assert (folder / MODEL).read_bytes() == b"model"


def test_a_link_to_a_bundle_stays_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    make(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert (folder / MODEL).read_text() == "two"


def test_a_copied_bundle_is_still_whole(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert Bundle.open(tmp_path / "copy").read(MODEL) == b"model"


def test_nothing_of_a_manifest_that_is_too_large_is_read(folder: Path) -> None:
    os.truncate(folder / MANIFEST, 20 << 30)
    with pytest.raises(BundleError, match=r"bundle\.json: damaged: is larger than 16 MB"):
        Bundle.open(folder)


@pytest.mark.parametrize("size", [3, 20 << 30])
def test_a_file_of_another_size_is_not_read(folder: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(folder)
    monkeypatch.setattr("fdan_edge.runtime.bundle.sha256", lambda _: pytest.fail("was read"))
    monkeypatch.setattr("fdan_edge.runtime.bundle.read_at_most", lambda *_: pytest.fail("was read"))
    os.truncate(folder / MODEL, size)
    for read in (bundle.file, bundle.read):
        with pytest.raises(BundleError, match="cut short: 3 of" if size == 3 else "changed since its export"):
            read(MODEL)
