"""What bundle.json may say: of this schema and the first one, and nothing outside its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.errors import BundleError
from fdan_edge.runtime import bundle
from fdan_edge.runtime.bundle import Artifact, EngineFile
from fdan_edge.runtime.tensorrt.compatibility import PORTABLE, Fingerprint
from fdan_edge.utils.files import sha256

INT8 = "model.int8-s8s8.onnx"
STREAM = "model.stream.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two artifacts, the first with a graph for live streams, and an engine of the second."""
    path = tmp_path / "b"
    path.mkdir()
    (path / bundle.MODEL).write_bytes(b"model")
    (path / INT8).write_bytes(b"small")
    (path / "engine").write_bytes(b"engine")
    (path / STREAM).write_bytes(b"part")
    gate = {"clips": 32, "stream": {"onnx_sha256": sha256(path / STREAM)}}
    artifacts = [
        Artifact(bundle.MODEL, "fp32", None, ("cpu", "rtx"), 18, gate, stream=STREAM),
        Artifact(INT8, "int8", "s8s8", ("rtx",), 18, {}, {"method": "entropy"}, ("conv1",), {"macs": 5}),
    ]
    made = Fingerprint("rtx", "1.7.1", PORTABLE, "", "int8", sha256(path / INT8), "linux-x86_64")
    engines = [EngineFile("engine", INT8, "rtx", made, (1, 1, 16))]
    spec = {"labels": ("calm", "fröhlich"), "sample_rate": 16000, "info": {10: 0.1, 9: [1e-7]}}
    content = {"spec": spec, "artifacts": [a.to_dict() for a in artifacts]}
    content |= {"engines": [e.to_dict() for e in engines]}
    bundle.write_manifest(path, content)
    return path


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """The one line that refuses a manifest after a change."""
    values = json.loads((folder / bundle.MANIFEST).read_text())
    change(values)
    (folder / bundle.MANIFEST).write_text(json.dumps(values))
    with pytest.raises(BundleError) as caught:
        bundle.read_manifest(folder)
    assert "\n" not in str(caught.value)
    assert str(folder / bundle.MANIFEST) in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(folder: Path) -> None:
    manifest = bundle.read_manifest(folder)
    first, second = bundle.artifacts(manifest)
    assert (first.file, first.targets, first.gate["clips"], first.calibration, first.stream) == (
        "model.onnx",
        ("cpu", "rtx"),
        32,
        None,
        STREAM,
    )
    assert second.stream is None
    assert (second.format, second.kept, second.cost) == ("s8s8", ("conv1",), {"macs": 5})
    (engine,) = bundle.engines(manifest)
    assert (engine.artifact, engine.batch) == (INT8, (1, 1, 16))
    assert engine.fingerprint.onnx_sha256 == sha256(folder / INT8)
    assert bundle.model_path(folder) == folder / bundle.MODEL
    assert bundle.checked_bytes(folder, "engine") == b"engine"
    assert bundle.checked_bytes(folder, STREAM) == b"part"


def test_artifacts_are_found_by_file_and_precision(folder: Path) -> None:
    manifest = bundle.read_manifest(folder)
    assert bundle.find_artifacts(folder, manifest, "int8") == bundle.find_artifacts(folder, manifest, INT8)
    with pytest.raises(BundleError) as caught:
        bundle.find_artifacts(folder, manifest, "fp16")
    assert str(caught.value) == f"{folder}: no artifact 'fp16'; it holds fp32 (model.onnx), int8 ({INT8})"


@pytest.mark.parametrize("engine", [None, "rtx", "trt"])
def test_bundles_of_schema_1(tmp_path: Path, engine: str | None) -> None:
    (tmp_path / bundle.MODEL).write_bytes(b"model")
    names = [bundle.MODEL]
    if engine:
        names.append(f"model.{engine}.engine")
        (tmp_path / names[1]).write_bytes(b"engine")
    values = {
        "schema": 1,
        "opset": 18,
        "precision": "fp32",
        "check": {"clips": 8},
        "engine": {"flavour": engine, "version": "1.7.1", "batch": [1, 1, 16]} if engine else None,
        "files": {n: {"sha256": sha256(tmp_path / n), "bytes": (tmp_path / n).stat().st_size} for n in names},
    }
    (tmp_path / bundle.MANIFEST).write_text(json.dumps(values))
    manifest = bundle.read_manifest(tmp_path)
    assert bundle.artifacts(manifest) == [Artifact("model.onnx", "fp32", None, ("cpu",), 18, {"clips": 8})]
    found = bundle.engines(manifest)
    if engine is None:
        assert found == []
        return
    assert (found[0].file, found[0].artifact, found[0].batch) == (names[1], "model.onnx", (1, 1, 16))
    assert found[0].fingerprint.version == "1.7.1"
    assert found[0].fingerprint.compute_capability == (PORTABLE if engine == "rtx" else "")
    assert bundle.checked_bytes(tmp_path, names[1]) == b"engine"


@pytest.mark.parametrize(
    "name",
    ["../x.onnx", "/etc/passwd", "a/b.onnx", "..", "", "a\\b", "c:x", ".hidden", "line\nbreak", "bundle.json/.."],
)
def test_names_that_leave_the_folder(folder: Path, name: str) -> None:
    text = changed(folder, lambda values: values["files"].update({name: values["files"]["engine"]}))
    assert "damaged: files names " in text
    assert text.endswith("which is not a file of the bundle's folder")


def test_a_link_is_no_file_of_the_bundle(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"engine")
    (folder / "engine").unlink()
    (folder / "engine").symlink_to(tmp_path / "outside")
    for look in (bundle.checked_bytes, bundle.checked_file):
        with pytest.raises(BundleError, match="engine: is a link; a bundle's files are its own"):
            look(folder, "engine")


def test_an_engine_of_another_onnx_file(folder: Path) -> None:
    text = changed(folder, lambda values: values["engines"][0]["fingerprint"].update(onnx_sha256="0" * 64))
    assert f"stale: engine was made from another {INT8}; export the bundle anew" in text


def test_a_gate_of_another_onnx_file(folder: Path) -> None:
    text = changed(folder, lambda values: values["artifacts"][0]["gate"].update(onnx_sha256="0" * 64))
    assert "stale: its gate's report on model.onnx is of another file; export it anew" in text


def test_a_stream_graph_that_its_gate_did_not_see(folder: Path) -> None:
    text = changed(folder, lambda values: values["artifacts"][0]["gate"]["stream"].update(onnx_sha256="0" * 64))
    assert f"stale: its gate's report on {STREAM} is of another file; export it anew" in text


def test_a_stream_graph_of_an_artifact_that_is_not_there(folder: Path) -> None:
    text = changed(folder, lambda values: values["artifacts"].pop(0))
    assert text.endswith(f"damaged: {STREAM} is of none of its artifacts")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec/labels", ["fröhlich", "calm"]),
        ("spec/sample_rate", 8000),
        ("spec/info/9", [2e-7]),
        ("spec/window", 5),
        ("spec/info", None),
        ("spec", None),
        ("spec_sha256", "0" * 64),
        ("spec_sha256", 5),
    ],
)
def test_a_spec_that_was_changed(folder: Path, path: str, value: Any) -> None:
    text = changed(folder, _set(path, value))
    assert text.endswith(": its spec was changed since the export; copy the bundle again, or export it anew")


def test_another_order_is_no_change_of_the_spec(folder: Path) -> None:
    values = json.loads((folder / bundle.MANIFEST).read_text())
    values["spec"] = dict(reversed(values["spec"].items()))
    (folder / bundle.MANIFEST).write_text(json.dumps(values, indent=7))
    assert bundle.read_manifest(folder)["spec"]["sample_rate"] == 16000
    del values["spec_sha256"]  # as earlier versions wrote it
    (folder / bundle.MANIFEST).write_text(json.dumps(values))
    assert bundle.read_manifest(folder)["spec"]["sample_rate"] == 16000


@pytest.mark.parametrize("passed", [False, 0, "no", []])
def test_an_artifact_that_did_not_pass_its_gate(folder: Path, passed: Any) -> None:
    text = changed(folder, lambda values: values["artifacts"][1]["gate"].update(passed=passed))
    assert text.endswith(f"{INT8} did not pass its gate; export it anew")


def test_a_model_put_in_later(folder: Path) -> None:
    (folder / bundle.MODEL).write_bytes(b"a better model")
    with pytest.raises(BundleError, match="changed since its export"):
        bundle.model_path(folder)


def test_a_file_cut_short(folder: Path) -> None:
    (folder / INT8).write_bytes(b"sma")
    with pytest.raises(BundleError, match=rf"{INT8}: cut short: 3 of 5 bytes; copy the bundle again"):
        bundle.checked_file(folder, INT8)


@pytest.mark.parametrize("index", range(6))
def test_every_changed_byte_is_seen(folder: Path, index: int) -> None:
    content = bytearray((folder / "engine").read_bytes())
    content[index] ^= 1
    (folder / "engine").write_bytes(content)
    with pytest.raises(BundleError, match="engine: changed since its export"):
        bundle.checked_bytes(folder, "engine")


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        *way, last = path.split("/")
        at: Any = values
        for name in way:
            at = at[int(name) if isinstance(at, list) else name]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("artifacts", None, "no 'artifacts'"),
        ("artifacts", [], "artifacts is empty"),
        ("artifacts", 5, "damaged: "),
        ("artifacts/0/file", "none.onnx", "none.onnx is not among its files"),
        ("artifacts/0/file", INT8, "a file is named twice"),
        ("artifacts/0/targets", None, "no 'targets'"),
        ("artifacts/0/targets", [5], "an artifact's entry cannot be right"),
        ("artifacts/0/gate", 5, "an artifact's entry cannot be right"),
        ("artifacts/0/precision", None, "damaged: "),
        ("artifacts/0/stream", "none.onnx", "none.onnx is not among its files"),
        ("artifacts/0/stream", INT8, "a file is named twice"),
        ("artifacts/0/stream", None, f"{STREAM} is of none of its artifacts"),
        ("artifacts/0/stream", 5, "an artifact's entry cannot be right"),
        ("artifacts/0/gate/stream", None, "no 'stream'"),
        ("artifacts/0/gate/stream", 5, "damaged: "),
        ("engines/0/file", "none.engine", "none.engine is not among its files"),
        ("engines/0/artifact", "engine", "engine was made from engine, which is not among its artifacts"),
        ("engines/0/fingerprint", None, "no 'fingerprint'"),
        ("engines/0/fingerprint/version", None, "no 'version'"),
        ("engines/0/fingerprint/flavour", "x", "flavour 'x' of an engine's fingerprint is none of rtx, trt"),
        ("engines/0/batch", [1, 16], "batch [1, 16] of an engine is not three rising sizes"),
        ("engines/0/batch", [4, 1, 16], "is not three rising sizes"),
        ("engines/0/batch", "abc", "is not three rising sizes"),
        ("engines", 5, "damaged: "),
        ("files/engine/sha256", "0" * 63, "sha256 of engine is not a SHA-256"),
        ("files/engine/sha256", 5, "sha256 of engine is not a SHA-256"),
        ("files/engine/bytes", -1, "bytes of engine is not a size"),
        ("files/engine/bytes", "6", "bytes of engine is not a size"),
        ("files", [], "damaged: "),
        ("schema", 3, "made by a later fdan-edge (schema 3 > 2); update this one"),
        ("schema", True, "schema True is not a version number"),
    ],
)  # fmt: skip
def test_damage(folder: Path, path: str, value: Any, reason: str) -> None:
    assert reason in changed(folder, _set(path, value))


def test_what_later_versions_add_and_their_targets_are_passed_over(folder: Path) -> None:
    values = json.loads((folder / bundle.MANIFEST).read_text())
    values["artifacts"][0] |= {"targets": ["cpu", "phone"], "added": 5}
    (folder / bundle.MANIFEST).write_text(json.dumps(values))
    assert bundle.artifacts(bundle.read_manifest(folder))[0].targets == ("cpu", "phone")


def test_a_manifest_that_would_be_refused_is_not_written(folder: Path) -> None:
    before = (folder / bundle.MANIFEST).read_bytes()
    with pytest.raises(BundleError, match="artifacts is empty"):
        bundle.write_manifest(folder, {"artifacts": []})
    assert (folder / bundle.MANIFEST).read_bytes() == before
