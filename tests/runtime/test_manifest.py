"""What bundle.json may say, and that nothing else passes."""

from __future__ import annotations

import json
import random
import types
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from fdan_edge.errors import BundleError
from fdan_edge.runtime.bundle import MANIFEST, MODEL, Bundle, write_manifest
from fdan_edge.runtime.manifest import (
    Calibration,
    GraphCost,
    LayerCost,
    Manifest,
    RangeComparison,
    SpeedReport,
    TotalCost,
    canonical,
    read,
)
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.tensorrt.batches import PROFILES
from fdan_edge.utils.files import sha256
from tests.helpers.bundles import artifact, edit, engine, gate, manifest

INT8 = "model.int8-s8s8.onnx"
STREAM = "model.stream.onnx"
LAYER = LayerCost("model.conv1/Conv", "Conv", 2, "int8", 10, 25, 8, 16, 16, 40)
COST = GraphCost((LAYER,), TotalCost(1, 2, 10, 25, 8, 16, 16, 40))
CALIBRATION = Calibration(
    "entropy",
    {"entropy": RangeComparison(0.019282, 0.1, 0.875), "minmax": RangeComparison(None, None, 0.25)},
    128,
    "24 windows of the validation part",
    8,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two artifacts, the first with a graph for live streams, and an engine of the second."""
    path = tmp_path / "b"
    path.mkdir()
    for name, content in ((MODEL, b"model"), (INT8, b"small"), ("engine", b"engine"), (STREAM, b"part")):
        (path / name).write_bytes(content)
    small = gate(path / INT8, precision="int8", largest_half=12.5, speed=SpeedReport(1.5, 3.0, "fp32", 0.5))
    artifacts = (
        artifact(path / MODEL, "fp32", ("cpu", "rtx"), path / STREAM),
        replace(
            artifact(path / INT8, "int8", ("rtx",), calibration=CALIBRATION, kept=("conv1",), cost=COST),
            gate=small,
        ),
    )
    spec = ModelSpec(("calm", "fröhlich"), 16000, 48000, 24000, 40.0, {"10": 0.1, "9": [1e-7]})
    engines = (engine(path / "engine", path / INT8, precision="int8"),)
    versions = {"python": "3.11.7"}
    write_manifest(path, manifest(*artifacts, engines=engines, spec=spec, run="runs/mine", versions=versions))
    return path


def refused(folder: Path) -> str:
    """The one line that refuses a bundle."""
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    assert "\n" not in str(caught.value)
    assert str(folder / MANIFEST) in str(caught.value)
    return str(caught.value)


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """The one line that refuses a manifest after a change that its digest fits."""
    edit(folder, change)
    return refused(folder)


def test_what_is_written_is_read(folder: Path) -> None:
    bundle = Bundle.open(folder)
    first, second = bundle.artifacts
    assert first == artifact(folder / MODEL, "fp32", ("cpu", "rtx"), folder / STREAM)
    assert (second.format, second.kept, second.cost, second.calibration) == ("s8s8", ("conv1",), COST, CALIBRATION)
    assert second.stream is None
    assert second.gate
    assert second.gate.speed == SpeedReport(1.5, 3.0, "fp32", 0.5)
    assert bundle.engines == (engine(folder / "engine", folder / INT8, precision="int8"),)
    assert bundle.manifest.spec.labels == ("calm", "fröhlich")
    assert (bundle.manifest.run, bundle.manifest.versions) == ("runs/mine", {"python": "3.11.7"})
    assert [*bundle.manifest.files] == ["engine", INT8, MODEL, STREAM]
    assert bundle.read(STREAM) == b"part"


def test_a_bundle_from_before_distances_were_measured_opens(folder: Path) -> None:
    edit(folder, lambda values: [values["artifacts"][0]["gate"].pop(name) for name in ("distance", "trained_on")])
    gate = Bundle.open(folder).artifacts[0].gate
    assert gate
    assert (gate.distance, gate.trained_on) == (None, False)
    assert gate == artifact(folder / MODEL, "fp32", ("cpu", "rtx"), folder / STREAM).gate


def test_it_is_written_as_it_was_read(folder: Path) -> None:
    before = (folder / MANIFEST).read_bytes()
    again = write_manifest(folder, Bundle.open(folder).manifest)
    assert (folder / MANIFEST).read_bytes() == before
    assert again == Bundle.open(folder)


def test_its_digest_is_of_all_other_entries(folder: Path) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    assert next(iter(values)) == "schema"
    assert [*values][-1] == "sha256"
    del values["sha256"]
    (folder / "rest").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    assert json.loads((folder / MANIFEST).read_text())["sha256"] == sha256(folder / "rest")


def flipped(content: bytes, bits: Iterable[int]) -> None:
    """Refuse a bundle.json after each of these bits was flipped, in one line."""
    for bit in bits:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BundleError) as caught:
            read(bytes(damaged), "b/bundle.json")
        assert "\n" not in str(caught.value), bit
        assert str(caught.value).startswith("b/bundle.json: "), bit
    assert read(content, "b/bundle.json")


def test_a_flipped_bit_anywhere_is_refused(folder: Path) -> None:
    content = (folder / MANIFEST).read_bytes()
    ends = [*range(24), *range(8 * len(content) - 8 * 12, 8 * len(content))]
    flipped(content, [*ends, *random.Random(0).sample(range(8 * len(content)), 600)])


def test_flipped_bits_of_a_real_bundle(bundle_folder: Path) -> None:
    content = (bundle_folder / MANIFEST).read_bytes()
    flipped(content, random.Random(1).sample(range(8 * len(content)), 300))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"run": "runs/mine"', '"run": "runs/other"'),
        lambda text: text.replace("0.875", "0.8750"),
        lambda text: text.replace("1e-07", "1.0e-07"),
        lambda text: text.replace("ö", "\\u00f6"),
        lambda text: text + "\n",
        lambda text: text.rstrip(),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: json.dumps(json.loads(text), indent=7),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), indent=2) + "\n",
        lambda text: text.replace('"fp32"', '"fp16"'),
    ],
)  # fmt: skip
def test_another_text_is_refused_whatever_it_says(folder: Path, change: Callable[[str], str]) -> None:
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_bytes(change(text).encode())
    assert refused(folder).endswith(
        ": changed since its export (its sha256 is of another content); copy the bundle again, or export it anew"
    )


def test_artifacts_are_found_by_file_and_precision(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.find_artifacts("int8") == bundle.find_artifacts(INT8) == bundle.artifacts[1:]
    with pytest.raises(BundleError) as caught:
        bundle.find_artifacts("fp16")
    assert str(caught.value) == f"{folder}: no artifact 'fp16'; it holds fp32 (model.onnx), int8 ({INT8})"


def test_every_field_has_a_type_that_is_checked() -> None:
    """Only the notes of the model's spec are open, since they are its own."""
    seen: set[Any] = set()

    def look(kind: Any) -> None:
        assert kind not in (Any, object, dict, list)
        for part in get_args(kind):
            look(part) if part not in (Ellipsis, types.NoneType) else None
        if is_dataclass(kind) and kind not in seen and kind is not ModelSpec:
            seen.add(kind)
            hints = get_type_hints(kind)
            for field in fields(kind):
                look(hints[field.name])

    look(Manifest)
    assert len(seen) >= 10


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
    bundle = Bundle.open(folder)
    for look in (bundle.read, bundle.file):
        with pytest.raises(BundleError, match="engine: is a link; a bundle's files are its own"):
            look("engine")


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


def test_an_artifact_that_did_not_pass_its_gate(folder: Path) -> None:
    text = changed(folder, lambda values: values["artifacts"][1]["gate"].update(passed=False))
    assert text.endswith(f"{INT8} did not pass its gate; export it anew")


def test_a_model_put_in_later(folder: Path) -> None:
    (folder / MODEL).write_bytes(b"a better model")
    with pytest.raises(BundleError, match="changed since its export"):
        Bundle.open(folder).file(MODEL)


def test_a_file_cut_short(folder: Path) -> None:
    (folder / INT8).write_bytes(b"sma")
    with pytest.raises(BundleError, match=rf"{INT8}: cut short: 3 of 5 bytes; copy the bundle again"):
        Bundle.open(folder).file(INT8)


@pytest.mark.parametrize("index", range(6))
def test_every_changed_byte_is_seen(folder: Path, index: int) -> None:
    content = bytearray((folder / "engine").read_bytes())
    content[index] ^= 1
    (folder / "engine").write_bytes(content)
    with pytest.raises(BundleError, match="engine: changed since its export"):
        Bundle.open(folder).read("engine")


def _set(path: str, value: Any, *, delete: bool = True) -> Callable[[dict[str, Any]], None]:
    """A change of one entry; None deletes it, or is null."""

    def change(values: dict[str, Any]) -> None:
        *way, last = [int(name) if name.isdecimal() else name for name in path.split("/")]
        at: Any = values
        for name in way:
            at = at[name]
        if value is None and delete:
            del at[last]
        else:
            at[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("artifacts", None, "damaged: no 'artifacts'"),
        ("artifacts", [], "artifacts is empty"),
        ("artifacts", 5, "artifacts 5 is not a list"),
        ("artifacts/0", 5, "artifacts[0] 5 is not a table"),
        ("artifacts/0/file", "none.onnx", "none.onnx is not among its files"),
        ("artifacts/0/file", INT8, "a file is named twice"),
        ("artifacts/0/targets", None, "no 'targets' in artifacts[0]"),
        ("artifacts/0/targets", [5], "artifacts[0].targets[0] 5 is not text"),
        ("artifacts/0/targets", "cpu", "artifacts[0].targets 'cpu' is not a list"),
        ("artifacts/0/gate", 5, "artifacts[0].gate 5 is not a table"),
        ("artifacts/0/gate/passed", 1, "artifacts[0].gate.passed 1 is not true or false"),
        ("artifacts/0/gate/clips", 32.0, "artifacts[0].gate.clips 32.0 is not a whole number"),
        ("artifacts/0/gate/clips", True, "artifacts[0].gate.clips True is not a whole number"),
        ("artifacts/0/gate/loss", "0", "artifacts[0].gate.loss '0' is not a number"),
        ("artifacts/0/gate/loss", True, "artifacts[0].gate.loss True is not a number"),
        ("artifacts/0/gate/loss_interval", [0.5], "artifacts[0].gate.loss_interval [0.5] is not 2 values"),
        ("artifacts/0/gate/distance", 5, "artifacts[0].gate.distance 5 is not a table"),
        ("artifacts/0/gate/trained_on", 1, "artifacts[0].gate.trained_on 1 is not true or false"),
        ("artifacts/0/gate/mine", 5, "unknown entry 'mine' in artifacts[0].gate"),
        ("artifacts/0/precision", None, "no 'precision' in artifacts[0]"),
        ("artifacts/0/stream", "none.onnx", "none.onnx is not among its files"),
        ("artifacts/0/stream", INT8, "a file is named twice"),
        ("artifacts/0/stream", 5, "artifacts[0].stream 5 is not text"),
        ("artifacts/0/gate/stream", 5, "artifacts[0].gate.stream 5 is not a table"),
        ("artifacts/1/calibration/compared", [], "artifacts[1].calibration.compared [] is not a table"),
        ("artifacts/1/cost/layers", [], "artifacts[1].cost: has no layers"),
        ("artifacts/1/cost/layers/0/macs", "5", "artifacts[1].cost.layers[0].macs '5' is not a whole number"),
        ("artifacts/1/cost/layers/0/macs", -5, "artifacts[1].cost.layers[0]: a count is negative"),
        ("artifacts/1/cost/layers/0/precision", "fp8", "precision 'fp8' is none of fp32, fp16, int8"),
        ("artifacts/1/cost/layers/0/nodes", None, "no 'nodes' in artifacts[1].cost.layers[0]"),
        ("engines/0/file", "none.engine", "none.engine is not among its files"),
        ("engines/0/artifact", "engine", "engine was made from engine, which is not among its artifacts"),
        ("engines/0/fingerprint", None, "no 'fingerprint' in engines[0]"),
        ("engines/0/fingerprint/version", None, "no 'version' in engines[0].fingerprint"),
        ("engines/0/fingerprint/flavour", "x", "engines[0].fingerprint: flavour 'x' is none of rtx, trt"),
        ("engines/0/batch", [1, 16], "engines[0].batch [1, 16] is not 3 values"),
        ("engines/0/batch", [4, 1, 16], "engines[0]: batch [4, 1, 16] is not three rising sizes"),
        ("engines/0/profiles", [[1, 1, 1], [2, 4]], "engines[0].profiles[1] [2, 4] is not 3 values"),
        ("engines/0/profiles", [[1, 1, 1], [8, 4, 16]], "engines[0]: batch [8, 4, 16] is not three rising sizes"),
        ("engines/0/profiles", [[1, 1, 8]], "engines[0]: batch [1, 1, 16] is not that of its profiles, 1 to 8"),
        ("engines/0/batch", "abc", "engines[0].batch 'abc' is not a list"),
        ("engines", 5, "engines 5 is not a list"),
        ("files/engine/sha256", "0" * 63, "files['engine']: sha256 is not a SHA-256"),
        ("files/engine/sha256", 5, "files['engine'].sha256 5 is not text"),
        ("files/engine/bytes", -1, "files['engine']: bytes -1 is not a size"),
        ("files/engine/bytes", "6", "files['engine'].bytes '6' is not a whole number"),
        ("files", [], "files [] is not a table"),
        ("spec", None, "no 'spec'"),
        ("spec/window", 0, "window 0 is not a positive whole number"),
        ("spec/labels", None, "no 'labels'"),
        ("spec/schema", 9, "schema 9 is of a later fdan-edge; update this one"),
        ("versions/python", 3, "versions['python'] 3 is not text"),
        ("mine", 5, "unknown entry 'mine'"),
        ("schema", 4, "made by a later fdan-edge (schema 4 > 3); update this one"),
        ("schema", True, "schema True is not a version number"),
    ],
)  # fmt: skip
def test_damage(folder: Path, path: str, value: Any, reason: str) -> None:
    assert reason in changed(folder, _set(path, value))


@pytest.mark.parametrize("where", ["artifacts/0/stream", "artifacts/0/gate/stream", "artifacts/0/gate"])
def test_a_stream_graph_without_its_comparison(folder: Path, where: str) -> None:
    expected = (
        "is of none of its artifacts" if where.endswith("0/stream") else "was not compared with its artifact"
    )
    assert changed(folder, _set(where, None, delete=False)).endswith(f"damaged: {STREAM} {expected}")


def test_engines_with_one_profile_and_with_several(folder: Path) -> None:
    assert Bundle.open(folder).engines[0].profiles == ()
    edit(folder, lambda values: values["engines"][0].pop("profiles"))  # as before there were several
    assert Bundle.open(folder).engines[0].profiles == ()
    edit(folder, _set("engines/0/profiles", [list(profile) for profile in PROFILES]))
    assert Bundle.open(folder).engines[0].profiles == PROFILES


def test_targets_of_later_versions_are_passed_over(folder: Path) -> None:
    edit(folder, _set("artifacts/0/targets", ["cpu", "phone"]))
    assert Bundle.open(folder).artifacts[0].targets == ("cpu", "phone")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have(folder: Path, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"loss": number})
    text = (folder / MANIFEST).read_text().replace("0.875", "NaN")
    (folder / MANIFEST).write_text(text)
    assert "damaged: " in refused(folder)


def test_a_manifest_that_would_be_refused_is_not_written(folder: Path) -> None:
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(BundleError, match="artifacts is empty"):
        write_manifest(folder, manifest())
    spec = replace(Bundle.open(folder).manifest.spec, info={"loss": float("nan")})
    with pytest.raises(BundleError, match="cannot be written: Out of range float values"):
        write_manifest(folder, manifest(artifact(folder / MODEL), spec=spec))
    assert (folder / MANIFEST).read_bytes() == before
