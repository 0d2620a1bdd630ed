"""about.json: read back as it was written, and refused where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fdan_edge.errors import BundleError
from fdan_edge.runtime.about import ABOUT, Score, read_about, write_about
from fdan_edge.runtime.bundle import MODEL, Bundle, write_manifest
from tests.helpers.bundles import artifact, manifest
from tests.helpers.package_models import about, corpus


def bundle(folder: Path, content: str | None = None) -> Bundle:
    """A bundle whose about.json is `content`, or that of `about()`; "": it has none."""
    folder.mkdir()
    (folder / MODEL).write_bytes(b"model")
    if content is None:
        write_about(folder, about())
    elif content:
        (folder / ABOUT).write_text(content)
    return write_manifest(folder, manifest(artifact(folder / MODEL)))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = bundle(tmp_path / "b")
    assert read_about(made) == about()
    assert ABOUT in made.manifest.files


def test_most_bundles_have_none(tmp_path: Path) -> None:
    assert read_about(bundle(tmp_path / "b", "")) is None


def test_it_is_hashed_as_every_file(tmp_path: Path) -> None:
    made = bundle(tmp_path / "b")
    path = tmp_path / "b" / ABOUT
    path.write_text(path.read_text().replace("any use", "ANY USE"))
    with pytest.raises(BundleError, match=r"about\.json: changed since its export"):
        read_about(made)


def changed(**entries: object) -> str:
    values = {"schema": 1, "title": "t", "use": "any", "terms": "t", "languages": [], "corpora": [], "scores": []}
    return json.dumps({**values, "speed": [], "command": "c", **entries})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "damaged: not a table"),
        ("{", "damaged: "),
        (changed(schema=0), "damaged: schema 0 is not 1"),
        (changed(schema=2), r"made by a later fdan-edge \(schema 2 > 1\); update this one"),
        (changed(use="fun"), "damaged: .*use 'fun' is none of any, non-commercial"),
        (changed(more=1), "damaged: unknown entry 'more'"),
        (changed(languages="German"), "damaged: languages 'German' is not a list"),
    ],
)
def test_what_it_may_not_say(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(BundleError, match=problem):
        read_about(bundle(tmp_path / "b", content))


def test_the_smallest_is_read(tmp_path: Path) -> None:
    said = read_about(bundle(tmp_path / "b", changed()))
    assert said is not None
    assert said.mean_uar("corpora") is None


def test_means_of_scores() -> None:
    assert about().mean_uar("corpora") == 0.5
    assert about().mean_uar("corpora", "EMO-DB") == 0.625
    assert about().mean_uar("noise", " 10 dB") == 0.375
    assert about().mean_uar("noise", " 0 dB") == 0.125
    assert about().mean_uar("noise", " 5 dB") is None


def test_values_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="sha256 is not a SHA-256"):
        corpus(sha256="abc")
    with pytest.raises(ValueError, match=r"uar 62\.5 is not a share of 1"):
        Score("noise", "10 dB", 62.5, None, 5, 4, "c")
    with pytest.raises(ValueError, match="test 'nois' is none of corpora, clean, noise"):
        Score("nois", "10 dB", 0.5, None, 5, 4, "c")
