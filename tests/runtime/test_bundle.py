"""The bundle folder: nothing in it is run unless it is what was exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.errors import BundleError
from fdan_edge.runtime import bundle
from fdan_edge.runtime.bundle import Artifact

ARTIFACT = Artifact(bundle.MODEL, "fp32", None, ("cpu",), 18)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small bundle of two files."""
    path = tmp_path / "b"
    path.mkdir()
    (path / bundle.MODEL).write_bytes(b"model")
    (path / "model.rtx.engine").write_bytes(b"engine")
    bundle.write_manifest(path, {"artifacts": [ARTIFACT.to_dict()]})
    return path


def fails(path: Path, name: str = bundle.MODEL) -> str:
    """The one-line error of looking for a file in a bundle."""
    with pytest.raises(BundleError) as caught:
        bundle.checked_file(path, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_whole_bundle(folder: Path) -> None:
    manifest = bundle.read_manifest(folder)
    assert bundle.artifacts(manifest) == [ARTIFACT]
    assert manifest["files"]["model.onnx"]["bytes"] == 5
    assert bundle.model_path(folder) == folder / "model.onnx"
    assert bundle.checked_file(folder, "model.rtx.engine").read_bytes() == b"engine"


def test_a_file_is_taken_as_it_is(folder: Path) -> None:
    assert bundle.model_path(folder / "model.onnx") == folder / "model.onnx"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle or file; `fdan-edge export RUN --out"):
        bundle.model_path(tmp_path / "none")


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


def test_later_schema(folder: Path) -> None:
    (folder / "bundle.json").write_text(json.dumps({"schema": 3, "parts": []}))
    assert "made by a later fdan-edge (schema 3 > 2); update this one" in fails(folder)


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
        '{"schema": 1}',
        '{"schema": 1, "files": []}',
        "\xff",
        "[" * 100_000,
    ],
    ids=lambda content: content[:20],
)
def test_damaged_manifest(folder: Path, content: str) -> None:
    (folder / "bundle.json").write_bytes(content.encode("latin-1"))
    assert fails(folder).startswith(f"{folder / 'bundle.json'}: damaged: ")


def test_manifest_entry_without_a_hash(folder: Path) -> None:
    (folder / "bundle.json").write_text('{"schema": 1, "files": {"model.onnx": {}}}')
    assert fails(folder) == f"{folder / 'bundle.json'}: damaged: no 'sha256'"


def make(target: Path, content: str, error: type[Exception] | None = None) -> None:
    """Write a bundle with one file, or fail on the way."""
    with bundle.new_bundle(target) as folder:
        (folder / bundle.MODEL).write_text(content)
        if error:
            raise error
        bundle.write_manifest(folder, {"artifacts": [ARTIFACT.to_dict()]})


def test_new_bundle_replaces_an_old_one_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "b"
    make(target, "one")
    make(target, "two")
    assert (target / bundle.MODEL).read_text() == "two"
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(target.parent.iterdir()) == [target]


def test_new_bundle_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    make(tmp_path / "b", "one")
    assert bundle.model_path(tmp_path / "b").read_text() == "one"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_bundle(tmp_path: Path, error: type[Exception]) -> None:
    make(tmp_path / "b", "one")
    with pytest.raises(error):
        make(tmp_path / "b", "two", error)
    assert bundle.model_path(tmp_path / "b").read_text() == "one"
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_a_rename_that_fails_brings_the_old_bundle_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "b"
    make(target, "one")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Any:
        if to == target and not self.name.endswith("-old"):
            raise OSError("disk full")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="disk full"):
        make(target, "two")
    assert bundle.model_path(target).read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


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
    assert (folder / bundle.MODEL).read_bytes() == b"model"


def test_a_damaged_bundle_is_not_replaced(folder: Path) -> None:
    (folder / bundle.MANIFEST).write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        make(folder, "one")
    assert (folder / bundle.MODEL).read_bytes() == b"model"


@pytest.mark.parametrize("name", [".", "../b", "link"])
def test_the_current_folder_is_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(folder)
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(BundleError, match="is the current folder, which cannot be replaced; name another --out"):
        make(folder.parent / name if name == "link" else Path(name), "one")
    assert (folder / bundle.MODEL).read_bytes() == b"model"


def test_a_link_to_a_bundle_stays_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    make(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert (folder / bundle.MODEL).read_text() == "two"


def test_a_copied_bundle_is_still_whole(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert bundle.model_path(tmp_path / "copy").read_bytes() == b"model"
