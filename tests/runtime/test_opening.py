"""Running models: right answers, and one line for every file that is not a model of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdan_edge.errors import BundleError, FdanEdgeError, MissingDependencyError
from fdan_edge.runtime.model_spec import METADATA_KEY
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.opening import open_runner
from tests.helpers.tiny_models import SPEC, model


def fails(target: Path) -> str:
    """The one-line BundleError of opening `target`, which its message names."""
    with pytest.raises(BundleError) as caught:
        open_runner(target)
    text = str(caught.value)
    assert "\n" not in text
    assert str(target) in text
    return text


def test_predict(tmp_path: Path) -> None:
    with open_runner(model(tmp_path / "m.onnx")) as runner:
        assert runner.spec == SPEC
        assert runner.name == "ONNX Runtime CPU"
        given = np.array([[0, 0, 5, 5], [2, 0, 0, 0]], np.float32)
        chances = runner.predict(given)
    assert chances.dtype == np.float32
    np.testing.assert_allclose(chances, [[0.5, 0.5], [0.880797, 0.119203]], atol=1e-6)


@pytest.mark.parametrize(
    ("available", "given", "expected"),
    [
        (
            ["CUDAExecutionProvider", "CPUExecutionProvider"],
            None,
            ["CUDAExecutionProvider", "CPUExecutionProvider"],
        ),
        (["AzureExecutionProvider", "CPUExecutionProvider"], None, ["CPUExecutionProvider"]),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], ("CPUExecutionProvider",), ["CPUExecutionProvider"]),
    ],
)
def test_cuda_is_used_where_it_is_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    available: list[str],
    given: tuple[str, ...] | None,
    expected: list[str],
) -> None:
    import onnxruntime

    asked: list[list[str]] = []
    session = onnxruntime.InferenceSession

    def opened(path: str, options: Any, providers: list[tuple[str, dict[str, str]]], **_: Any) -> Any:
        asked.append([name for name, _ in providers])
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    with OnnxRunner(model(tmp_path / "m.onnx"), given):
        assert asked == [expected]


def test_predict_takes_any_float_and_no_windows(tmp_path: Path) -> None:
    with open_runner(model(tmp_path / "m.onnx")) as runner:
        np.testing.assert_allclose(runner.predict(np.zeros((1, 4), np.float64)), 0.5)
        assert runner.predict(np.zeros((0, 4), np.float32)).shape == (0, 2)


@pytest.mark.parametrize("shape", [(4,), (1, 3), (1, 5), (1, 1, 4)])
def test_predict_refuses_other_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with open_runner(model(tmp_path / "m.onnx")) as runner, pytest.raises(ValueError, match=r"\(n, 4\), got"):
        runner.predict(np.zeros(shape, np.float32))


def test_nan_stays_in_its_window(bundle_folder: Path) -> None:
    with open_runner(bundle_folder) as runner:
        windows = np.random.default_rng(0).standard_normal((3, runner.spec.window)).astype(np.float32)
        alone = runner.predict(windows[:1])
        windows[1, 10] = np.nan
        chances = runner.predict(windows)
    np.testing.assert_allclose(chances[:1], alone, atol=1e-6)
    assert np.isnan(chances[1]).all()
    assert np.isfinite(chances[2]).all()


def test_bundle_file_and_run_agree(bundle_folder: Path, run_folder: Path) -> None:
    targets = [bundle_folder, bundle_folder / "model.onnx", run_folder]
    answers = []
    for target in targets:
        with open_runner(target, threads=1) as runner:
            windows = 0.1 * np.random.default_rng(0).standard_normal((2, runner.spec.window)).astype(np.float32)
            answers.append(runner.predict(windows))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_allclose(answers[0], answers[2], atol=1e-5)
    np.testing.assert_allclose(answers[0].sum(axis=1), 1, atol=1e-5)


def test_missing_file(tmp_path: Path) -> None:
    assert "no such bundle or file; `fdan-edge export" in fails(tmp_path / "none.onnx")
    with pytest.raises(BundleError, match="no such file; `fdan-edge export"):
        OnnxRunner(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x08", np.random.default_rng(0).bytes(5000)])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert "cut short or not an ONNX model: " in fails(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_cut_short(tmp_path: Path, bundle_folder: Path, share: float) -> None:
    data = (bundle_folder / "model.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    assert "cut short or not an ONNX model: " in fails(path)


def test_tampered_bundle(tmp_path: Path, bundle_folder: Path) -> None:
    folder = tmp_path / "b"
    shutil.copytree(bundle_folder, folder)
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1000] ^= 1
    (folder / "model.onnx").write_bytes(data)
    assert "changed since its export" in fails(folder)


def test_foreign_model(tmp_path: Path) -> None:
    assert "carries no fdan-edge metadata" in fails(model(tmp_path / "m.onnx", {}))
    assert "carries no fdan-edge metadata" in fails(model(tmp_path / "m.onnx", {"author": "someone"}))


def test_damaged_metadata(tmp_path: Path) -> None:
    assert "metadata is damaged" in fails(model(tmp_path / "m.onnx", {METADATA_KEY: SPEC.to_json()[:-5]}))


@pytest.mark.parametrize("old", [b"angry", b"probabilities"])
def test_names_that_are_no_text(tmp_path: Path, old: bytes) -> None:
    path = model(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(old, b"\xff" + old[1:]))
    assert "damaged: a name or its metadata is not UTF-8" in fails(path)


def changed(**changes: Any) -> dict[str, str]:
    """Metadata of SPEC with entries changed."""
    return {METADATA_KEY: json.dumps(json.loads(SPEC.to_json()) | changes)}


def test_later_schema(tmp_path: Path) -> None:
    assert "made by a later fdan-edge (schema 9 > 2)" in fails(model(tmp_path / "m.onnx", changed(schema=9)))


def test_metadata_that_does_not_fit_the_graph(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    assert "its metadata (4 samples, 3 labels) does not fit" in fails(model(path, changed(labels=["a", "b", "c"])))
    assert "its metadata (8 samples, 2 labels) does not fit" in fails(model(path, changed(window=8)))


def test_graph_of_another_kind(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", names=("image", "scores"))
    assert "not a model of fdan-edge: it turns ['image'] into ['scores']" in fails(path)


def test_neither_bundle_nor_run(tmp_path: Path) -> None:
    assert "not a bundle (no bundle.json)" in fails(tmp_path)


def test_damaged_run(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("format = 5")
    with pytest.raises(FdanEdgeError, match="not a run folder"):
        open_runner(tmp_path)


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("onnxruntime", r"pip install onnxruntime \(or onnxruntime-gpu"),
        ("torch", r"pip install '.\[train,cpu\]' in"),
    ],
)
def test_missing_package_names_the_command(
    monkeypatch: pytest.MonkeyPatch, bundle_folder: Path, run_folder: Path, package: str, command: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    target = run_folder if package == "torch" else bundle_folder
    with pytest.raises(MissingDependencyError, match=f"needs {package}, .*{command}"):
        open_runner(target)


def test_opening_a_model_prints_nothing(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx")
    code = f"from fdan_edge.runtime.opening import open_runner; open_runner({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
