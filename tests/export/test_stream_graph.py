"""What a live stream runs is cut from an artifact at the mel power, and gives what the artifact gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fdan_edge.data.corpora.ravdess import read_speech
from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice
from fdan_edge.errors import ExportError
from fdan_edge.export.plan import Plan
from fdan_edge.export.recordings import ReferenceClips
from fdan_edge.export.stream_graph import check_stream, front_end, stream_graph
from fdan_edge.export.to_onnx import front_end_graph
from fdan_edge.models.log_mel import LogMel
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.deploy_targets import TARGETS
from fdan_edge.runtime.log_mel import FRONT_END_KEY, FrontEnd
from fdan_edge.runtime.model_spec import METADATA_KEY
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.onnx_stream import OnnxFrameRunner, read_front_end, write_front_end
from fdan_edge.runtime.runner import POWER
from fdan_edge.streaming.incremental_mel import WholeWindowRunner, mel_power
from tests.helpers.tiny_models import SPEC, stream_model

CPU = ("CPUExecutionProvider",)
WINDOW = 16000


def windows() -> NDArray[np.float32]:
    """Loud and quiet voices, one with padding at its end, one of nothing but padding."""
    voices = [voice(emotion, actor, 0)[:WINDOW] for actor, emotion in enumerate(("angry", "sad", "happy"), 1)]
    made = np.zeros((4, WINDOW), np.float32)
    for row, one, gain in zip(made, voices, (1, 1e-3, 0.1), strict=False):
        row[: len(one)] = gain * one
    made[2, 9000:] = 0
    return made


def test_the_power_is_librosas() -> None:
    assert SAMPLE_RATE == 16000
    module = LogMel()
    made = mel_power(windows(), front_end(module, WINDOW))
    for one, power in zip(windows(), made, strict=True):
        expected = librosa.feature.melspectrogram(y=one.astype(np.float64), sr=16000, n_fft=1024, hop_length=256)
        np.testing.assert_allclose(power, expected, rtol=1e-5, atol=1e-12 * expected.max())
    assert made.shape == (4, 128, 63)
    assert made.dtype == np.float32


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ((1024, 256, 128), {"level": "speech", "channel": "window"}),
        ((1024, 512, 32), {"level": "none", "exact": False}),
        ((400, 160, 80), {"level": "peak"}),
    ],
)
def test_every_front_end_is_cut_at_its_power(sizes: tuple[int, int, int], options: dict[str, Any]) -> None:
    module = LogMel(16000, *sizes, **options)
    whole = front_end_graph(module, WINDOW, "probabilities")  # without a network: dB come out
    made = stream_graph(whole, front_end(module, WINDOW))
    power = mel_power(windows(), front_end(module, WINDOW))
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=list(CPU))
    (decibel,) = session.run(None, {POWER: power})
    expected = module(torch.from_numpy(windows())).numpy()
    np.testing.assert_allclose(decibel, expected, rtol=0, atol=1e-3 if module.exact else 2e-2)
    assert float(np.ptp(expected)) > 60  # equal silence would prove nothing


def test_the_file_beside_an_artifact(bundle_folder: Path) -> None:
    (artifact,) = Bundle.open(bundle_folder).artifacts
    assert artifact.stream is not None
    assert artifact.stream == "model.stream.onnx"
    whole, part = (onnx.load(str(bundle_folder / name)) for name in (artifact.file, artifact.stream))
    metadata = {entry.key: entry.value for entry in part.metadata_props}
    assert metadata[METADATA_KEY] == whole.metadata_props[0].value
    found = read_front_end(metadata[FRONT_END_KEY], WINDOW, "here")
    assert (found.n_fft, found.hop, found.frames) == (1024, 512, 32)
    np.testing.assert_array_equal(found.filters, librosa.filters.mel(sr=16000, n_fft=1024, n_mels=32))
    (taken,) = part.graph.input
    shape = taken.type.tensor_type.shape.dim
    assert (taken.name, shape[0].dim_param, shape[1].dim_value, shape[2].dim_value) == (POWER, "batch", 32, 32)
    assert [value.name for value in part.graph.output] == ["probabilities"]
    assert part.opset_import == whole.opset_import
    used = {name for node in part.graph.node for name in node.input}
    assert {tensor.name for tensor in part.graph.initializer} <= used
    assert not [node for node in part.graph.node if node.name.startswith("frontend.")]  # filterbank and DFT


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_it_gives_what_its_artifact_gives(bundle_folder: Path, batch: int) -> None:
    given = windows()[:batch]
    with (
        OnnxRunner(bundle_folder / "model.onnx", CPU) as whole,
        OnnxFrameRunner(bundle_folder / "model.stream.onnx", CPU) as part,
        WholeWindowRunner(part) as runner,
    ):
        np.testing.assert_allclose(runner.predict(given), whole.predict(given), rtol=0, atol=1e-5)
        with pytest.raises(ValueError, match=r"expected windows of shape \(n, 16000\)"):
            runner.predict(given[:, :-1])


def test_the_report_of_the_comparison(bundle_folder: Path) -> None:
    bundle = Bundle.open(bundle_folder)
    gate = bundle.artifacts[0].gate
    assert gate
    assert gate.stream
    assert (gate.stream.clips, gate.stream.flips, gate.stream.loss) == (8, 0, 0)
    assert gate.stream.max_difference < 1e-4
    assert gate.stream.onnx_sha256 == bundle.manifest.files["model.stream.onnx"].sha256


BANDS = np.zeros((2, 513), np.float32)  # below 1 kHz, and above
BANDS[0, :64], BANDS[1, 64:] = 5e-3, 5e-2
LISTENING = FrontEnd(1024, 8000, 3, BANDS)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph whose answers follow what it hears, unlike those of a network after 2 epochs."""
    spec = replace(SPEC, window=WINDOW, window_hop=WINDOW // 2)
    metadata = {METADATA_KEY: spec.to_json(), FRONT_END_KEY: write_front_end(LISTENING)}
    return stream_model(tmp_path_factory.mktemp("stream") / "model.stream.onnx", metadata)


@pytest.fixture(scope="module")
def held(listening: Path, ravdess_tree: Path) -> ReferenceClips:
    with OnnxFrameRunner(listening, CPU) as runner:
        items = [item for item in read_speech(ravdess_tree) if item.emotion in SPEC.labels]
        found = ReferenceClips(items, "here", WholeWindowRunner(runner))
    assert float(np.ptp(found.answers.expected[:, 0])) > 0.2
    return found


def other_filters(model: onnx.ModelProto) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == FRONT_END_KEY)
    entry.value = write_front_end(replace(LISTENING, filters=BANDS[::-1]))


def other_frames(model: onnx.ModelProto) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == FRONT_END_KEY)
    entry.value = write_front_end(replace(LISTENING, n_fft=512, filters=BANDS[:, ::2]))


def other_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array([2, 1], np.float32), "gain"))


def not_a_number(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array([1, np.nan], np.float32), "gain"))


@pytest.mark.parametrize("change", [other_filters, other_frames, other_weights, not_a_number])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_graph_that_gives_something_else_is_refused(
    listening: Path,
    held: ReferenceClips,
    tmp_path: Path,
    change: Callable[[onnx.ModelProto], None],
    precision: str,
) -> None:
    report = check_stream(held, listening, held.answers.expected, precision, CPU)
    assert (report.clips, report.max_difference, report.flips) == (8, 0, 0)
    model = onnx.load(str(listening))
    change(model)
    onnx.save(model, tmp_path / "wrong.stream.onnx")
    with pytest.raises(ExportError, match=r"^wrong\.stream\.onnx \(.*\) does not give what its artifact gives: "):
        check_stream(held, tmp_path / "wrong.stream.onnx", held.answers.expected, precision, CPU)


def test_a_difference_from_its_artifact_is_refused_even_where_labels_stay(
    listening: Path, held: ReferenceClips
) -> None:
    moved = held.answers.expected + np.float32(2e-4) * np.array([1, -1], np.float32)
    with pytest.raises(ExportError, match=r"a probability differs by 2\.0e-04 \(allowed 0\.0001\)"):
        check_stream(held, listening, moved, "fp32", CPU)
    assert check_stream(held, listening, moved, "int8", CPU).max_difference == pytest.approx(2e-4, rel=0.01)


def small(**changes: Any) -> onnx.ModelProto:
    """A filterbank of 2 bands over 4 samples, scaled, and the mean over the frames."""
    ends = {"bank": "frontend.mel/Conv", "scaled": ["filtered", "scale"], "read": "power", "extra": []} | changes
    nodes = [
        helper.make_node("Unsqueeze", ["waveform", "one"], ["channel"], "frontend/Unsqueeze"),
        helper.make_node("Conv", ["channel", "weight"], ["filtered"], ends["bank"]),
        helper.make_node("Mul", ends["scaled"], ["power"], "frontend/Mul"),
        *ends["extra"],
        helper.make_node("ReduceMean", [ends["read"], "two"], ["probabilities"], "head/ReduceMean", keepdims=0),
    ]
    constants = {"one": [1], "two": [2], "scale": np.float32(4), "weight": np.ones((2, 1, 1), np.float32)}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


SMALL = FrontEnd(2, 1, 4, np.ones((2, 2), np.float32))


def test_the_cut_is_after_the_scale() -> None:
    model = small()
    before = model.SerializeToString()
    made = stream_graph(model, SMALL)
    assert [node.op_type for node in made.graph.node] == ["ReduceMean"]
    assert [tensor.name for tensor in made.graph.initializer] == ["two"]
    assert model.SerializeToString() == before  # a copy


LATER = helper.make_node("Add", ["power", "channel"], ["both"], "frontend/Add")
TWICE = helper.make_node("Add", ["power", "filtered"], ["both"], "frontend/Add")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bank": "frontend.other/Conv"}, "there is no mel filterbank whose output is scaled once"),
        ({"scaled": ["channel", "scale"]}, "there is no mel filterbank whose output is scaled once"),
        ({"extra": [TWICE], "read": "both"}, "there is no mel filterbank whose output is scaled once"),
        ({"extra": [LATER], "read": "both"}, "what follows the mel power reads the waveform too"),
    ],
)
def test_a_graph_that_cannot_be_cut(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExportError, match=reason) as caught:
        stream_graph(small(**changes), SMALL)
    assert "\n" not in str(caught.value)


def test_only_what_onnx_runtime_runs_gets_one() -> None:
    assert not Plan("model.onnx", "fp16", None, (TARGETS["rtx"], TARGETS["jetson-jp6"])).has_stream
    assert Plan("model.onnx", "fp16", None, (TARGETS["rtx"], TARGETS["cuda"])).has_stream
