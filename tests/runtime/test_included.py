"""The models of the package: found by name, and introduced with their terms."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fdan_edge.errors import BundleError
from fdan_edge.runtime import included
from fdan_edge.runtime.bundle import MODEL, write_manifest
from tests.helpers.bundles import artifact, manifest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one bundle, `zebra`, that says nothing of itself, and what is no bundle."""
    folder = tmp_path / "bundles"
    (folder / "zebra").mkdir(parents=True)
    (folder / "zebra" / MODEL).write_bytes(b"model")
    write_manifest(folder / "zebra", manifest(artifact(folder / "zebra" / MODEL)))
    (folder / "__pycache__").mkdir()
    monkeypatch.setattr(included, "FOLDER", folder)
    return folder


def test_the_default_comes_first(folder: Path) -> None:
    assert included.names() == ["zebra"]
    for name in ("open", "aardvark"):
        shutil.copytree(folder / "zebra", folder / name)
    assert included.names() == ["open", "aardvark", "zebra"]


def test_names_and_paths(folder: Path) -> None:
    assert included.locate("zebra") == folder / "zebra"
    assert included.locate("./zebra") == Path("zebra")
    assert included.locate(Path("zebra")) == Path("zebra")  # a path is a path
    assert included.locate("zebras") == Path("zebras")


def test_a_package_without_its_default(folder: Path) -> None:
    with pytest.raises(BundleError, match="unknown model 'open'; valid: zebra"):
        included.locate()
    with pytest.raises(BundleError, match=r"unknown model 'zebr' \(did you mean zebra\?\); valid: zebra"):
        included.find("zebr")
    shutil.rmtree(folder)
    assert included.names() == []
    with pytest.raises(BundleError, match="no model comes with this installation; name a bundle, or `make"):
        included.locate()


def test_introductions(package_models: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    included.introduce(folder / "zebra")
    included.introduce(folder / "zebra" / MODEL)
    included.introduce(package_models / "open")  # now the folder of another package
    assert [record.message for record in caplog.records] == ["model zebra of the package"]


@pytest.mark.usefixtures("package_models")
def test_terms_are_said_each_time(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("open", "research", "research"):
        included.introduce(included.locate(name))
    line = "model research (English): research use only, because of RAVDESS"
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "model open (German, Javanese): any use, with credit; `fdan-edge models` lists what there is"),
        ("WARNING", line),
        ("WARNING", line),
    ]
