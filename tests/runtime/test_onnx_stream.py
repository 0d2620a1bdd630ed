"""The graph that a live stream runs: right answers, and one line for every file that is not one."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdan_edge.errors import BundleError
from fdan_edge.runtime.bundle import MODEL, write_manifest
from fdan_edge.runtime.log_mel import FRONT_END_KEY, FrontEnd
from fdan_edge.runtime.model_spec import METADATA_KEY
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.onnx_stream import OnnxFrameRunner, read_front_end, write_front_end
from fdan_edge.runtime.opening import open_runner, open_stream_runner
from tests.helpers.bundles import artifact, manifest
from tests.helpers.tiny_models import FRONT_END, SPEC, model, stream_model

POWER = np.array([[[1, 2, 3], [0, 0, 0]], [[5, 5, 5], [5, 5, 5]]], np.float32)
STREAM = "model.stream.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with a whole model and its graph for live streams."""
    path = tmp_path / "b"
    path.mkdir()
    model(path / MODEL)
    write_manifest(path, manifest(artifact(path / MODEL, stream=stream_model(path / STREAM))))
    return path


def refused(open_: Callable[[Path], Any], target: Path) -> str:
    """The one line that refuses a target, which it names."""
    with pytest.raises(BundleError) as caught:
        open_(target)
    text = str(caught.value)
    assert "\n" not in text
    assert str(target) in text
    return text


def test_mel_power_to_probabilities(tmp_path: Path) -> None:
    with OnnxFrameRunner(stream_model(tmp_path / "m.onnx"), precision="int8") as runner:
        assert (runner.spec, runner.name) == (SPEC, "ONNX Runtime CPU int8")
        made = runner.predict_power(POWER)
        assert runner.predict_power(POWER[:0]).shape == (0, 2)
        assert (runner.frontend.n_fft, runner.frontend.hop, runner.frontend.frames) == (4, 2, 3)
        np.testing.assert_array_equal(runner.frontend.filters, FRONT_END.filters)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, [[0.880797, 0.119203], [0.5, 0.5]], atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 3), (1, 2, 4), (1, 1, 2, 3)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with (
        OnnxFrameRunner(stream_model(tmp_path / "m.onnx")) as runner,
        pytest.raises(ValueError, match=r"expected mel power of shape \(n, 2, 3\), got"),
    ):
        runner.predict_power(np.zeros(shape, np.float32))


def test_streams_share_a_runner(tmp_path: Path) -> None:
    with OnnxFrameRunner(stream_model(tmp_path / "m.onnx")) as runner:
        given = np.random.default_rng(0).random((40, 1, 2, 3)).astype(np.float32)
        made: dict[int, Any] = {}

        def listen(first: int) -> None:
            for index in range(first, 40, 4):
                made[index] = runner.predict_power(given[index])[0]

        threads = [threading.Thread(target=listen, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = runner.predict_power(given[:, 0])
    np.testing.assert_allclose([made[index] for index in range(40)], expected, atol=1e-6)


def test_a_front_end_is_read_to_the_last_bit() -> None:
    chance = np.random.default_rng(0)
    filters = (chance.random((20, 513)) ** 30).astype(np.float32)  # down to denormals
    filters[:, 40:] = 0
    filters[3] = 0
    filters[4, :7] = 0
    text = write_front_end(FrontEnd(1024, 256, 64, filters))
    assert len(text) < 20_000
    made = read_front_end(text, 16128, "here")
    assert (made.n_fft, made.hop, made.frames) == (1024, 256, 64)
    assert made.filters.dtype == np.float32
    np.testing.assert_array_equal(made.filters, filters)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n_fft": None}, "damaged: no 'n_fft'"),
        ({"hop": 0}, "hop 0 is not a positive whole number"),
        ({"hop": True}, "hop True is not a positive whole number"),
        ({"n_fft": 4.0}, "n_fft 4.0 is not a positive whole number"),
        ({"n_fft": 1 << 40}, "3 frames of 1099511627776 samples, 2 apart, are not 4 samples"),
        ({"frames": 4}, "4 frames of 4 samples, 2 apart, are not 4 samples"),
        ({"filters": []}, "damaged: "),
        ({"filters": 5}, "damaged: "),
        ({"filters": [[0, [1]], 5]}, "damaged: "),
        ({"filters": [[2, [1, 1]]]}, "a band of 2 weights from bin 2 on, of 3 bins"),
        ({"filters": [[-1, [1]]]}, "a band of 1 weights from bin -1 on"),
        ({"filters": [["0", [1]]]}, "from bin '0' on"),
        ({"filters": [[0, [[1]]]]}, "a band of 1 weights"),
        ({"filters": [[0, ["x"]]]}, "damaged: "),
        ({"filters": [[0, [float("nan")]]]}, "the number nan is not finite"),
        ({"filters": [[0, [1e300]]]}, "a weight is not a positive number"),
        ({"filters": [[0, [10**400]]]}, "damaged: "),
        ({"filters": [[0, [-1]]]}, "a weight is not a positive number"),
    ],
)
def test_a_damaged_front_end(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    values = json.loads(write_front_end(FRONT_END)) | change
    text = json.dumps({name: value for name, value in values.items() if value is not None})
    path = stream_model(tmp_path / "m.onnx", {METADATA_KEY: SPEC.to_json(), FRONT_END_KEY: text})
    said = refused(OnnxFrameRunner, path)
    assert "what it says of its front end is damaged: " in said
    assert reason in said


@pytest.mark.parametrize("text", ["{", "[]", "5", "[" * 100_000])
def test_a_front_end_that_is_no_table(tmp_path: Path, text: str) -> None:
    path = stream_model(tmp_path / "m.onnx", {METADATA_KEY: SPEC.to_json(), FRONT_END_KEY: text})
    assert "what it says of its front end is damaged: " in refused(OnnxFrameRunner, path)


def test_a_front_end_that_is_missing_or_of_another_graph(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    stream_model(path, {METADATA_KEY: SPEC.to_json()})
    assert "does not say what its front end is" in refused(OnnxFrameRunner, path)
    stream_model(path, frames=5)
    said = refused(OnnxFrameRunner, path)
    assert "its metadata (2 bands of 3 frames, 2 labels) does not fit its graph (['batch', 2, 5] to" in said
    stream_model(path, {})
    assert "carries no fdan-edge metadata" in refused(OnnxFrameRunner, path)


def test_neither_kind_is_taken_for_the_other(tmp_path: Path) -> None:
    whole, part = model(tmp_path / "whole.onnx"), stream_model(tmp_path / "part.onnx")
    assert "it turns ['waveform'] into ['probabilities']" in refused(OnnxFrameRunner, whole)
    text = "is the part of a model that live streams run; name its bundle's folder or the whole model's file"
    for path in (part, stream_model(tmp_path / STREAM)):
        assert text in refused(open_runner, path)
    with open_stream_runner(tmp_path / STREAM) as runner:
        assert isinstance(runner, OnnxFrameRunner)
    with open_stream_runner(whole) as other:
        assert isinstance(other, OnnxRunner)


def test_a_stream_runs_the_graph_that_is_made_for_it(folder: Path) -> None:
    for wish in ({}, {"artifact": "fp32"}, {"artifact": MODEL}, {"runtime": "onnxruntime-cpu"}):
        with open_stream_runner(folder, 1, **wish) as runner:  # type: ignore[arg-type]
            assert isinstance(runner, OnnxFrameRunner)
            assert runner.name == "ONNX Runtime CPU fp32"
    with open_runner(folder) as whole:
        assert isinstance(whole, OnnxRunner)
    (folder / MODEL).unlink()  # a stream does not need it
    with open_stream_runner(folder):
        pass


def test_an_artifact_without_a_graph_for_streams_runs_as_a_whole(folder: Path) -> None:
    (folder / STREAM).unlink()
    write_manifest(folder, manifest(artifact(folder / MODEL)))
    with open_stream_runner(folder) as runner:
        assert isinstance(runner, OnnxRunner)


def test_a_run_folder_runs_as_it_is(run_folder: Path) -> None:
    with open_stream_runner(run_folder) as runner:
        assert runner.name == "PyTorch eager CPU"


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "foreign", "link"])
def test_a_damaged_stream_graph_is_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    path = folder / STREAM
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.unlink()
    if damage == "changed":
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-9])
    elif damage == "foreign":
        stream_model(path, frames=5)
    elif damage == "link":
        path.symlink_to(stream_model(tmp_path / "other.onnx"))
    expected = {"cut": "cut short", "missing": "missing from the bundle", "link": "is a link"}
    text = refused(open_stream_runner, folder)
    assert f"{STREAM}: {expected.get(damage, 'changed since its export')}" in text
    with open_runner(folder):  # the whole model is as it was
        pass


def test_a_copy_elsewhere_is_the_same(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    with open_stream_runner(folder) as one, open_stream_runner(copy) as other:
        assert isinstance(one, OnnxFrameRunner)
        assert isinstance(other, OnnxFrameRunner)
        np.testing.assert_array_equal(one.predict_power(POWER), other.predict_power(POWER))
