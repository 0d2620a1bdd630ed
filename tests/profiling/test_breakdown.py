"""Where the time goes: reading ONNX Runtime's profiles, and each runtime's own way to tell."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.errors import BundleError
from fdan_edge.profiling.breakdown import breakdown, of_profile
from fdan_edge.runtime.opening import Variant, open_runner
from tests.runtime.test_recognition import Stub

WINDOWS = np.zeros((1, 16000), np.float32)


def events(*spans: tuple[str, int], calls: int = 5) -> list[dict[str, Any]]:
    """A profile of some calls, in which nodes take so many microseconds."""
    one = [{"cat": "Node", "name": f"{name}_kernel_time", "dur": dur} for name, dur in spans]
    return [{"cat": "Session", "name": "model_run", "dur": 10**6}, *one] * calls


def test_nodes_belong_to_their_modules() -> None:
    profile = events(
        ("frontend/Abs", 10), ("frontend.mel/Conv", 20), ("model.acoustic.conv/Conv", 300), ("head/Softmax", 4)
    )
    assert of_profile(profile) == {"front_end": pytest.approx(0.03), "network": pytest.approx(0.304)}


def test_what_onnxruntime_puts_in_belongs_to_its_neighbour() -> None:
    profile = events(
        ("frontend/Concat", 1),
        ("ReorderInput", 10),
        ("frontend.first_high/Conv_nchwc", 100),
        ("ReorderOutput", 1000),
        ("ReorderInput_token_4", 10000),
        ("model.conv1/Conv_nchwc", 100000),
    )
    assert of_profile(profile) == {"front_end": pytest.approx(1.111), "network": pytest.approx(110)}


def test_casts_belong_to_what_they_are_for() -> None:
    cast = "InsertedPrecisionFreeCast_model.conv/Conv_nchwc"
    assert of_profile(events(("frontend/Abs", 1), (cast, 10)))["network"] == pytest.approx(0.01)


def test_parts_are_medians_of_calls_not_of_nodes() -> None:
    # Each call is held up once, every time elsewhere.
    spans = [(10, 90), (90, 10)] * 5
    profile = [e for a, b in spans for e in events(("frontend/A", a), ("frontend/B", b), calls=1)]
    assert of_profile(profile)["front_end"] == pytest.approx(0.1)


def test_first_calls_do_not_count() -> None:
    profile = events(("frontend/Abs", 9000), calls=3) + events(("frontend/Abs", 10), calls=2)
    assert of_profile(profile)["front_end"] == pytest.approx(0.01)


def test_a_graph_without_names_tells_nothing() -> None:
    assert of_profile(events(("node_conv2d", 10), ("node_relu", 20))) == {}


class Telling(Stub):
    """A runner that times its own parts."""

    def __init__(self, **times: float) -> None:
        super().__init__()
        self._told = {name.replace("_", " "): ms for name, ms in times.items()}
        self.times: dict[str, float] = {}

    def predict(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        self.times = self._told
        return super().predict(waveforms)


def test_parts_that_a_runner_tells() -> None:
    engine = Variant("b", "model.onnx", "fp16", "tensorrt-rtx")
    parts = breakdown(engine, Telling(copy_in=0.2, compute=1.0, copy_out=0.1), WINDOWS, wall=1.5)
    assert parts == {"copy": pytest.approx(0.3), "compute": 1.0, "host": pytest.approx(0.2)}
    # The wall clock of another time may be shorter: then what is left is not told.
    assert "host" not in breakdown(engine, Telling(copy_in=0.2, compute=1.0, copy_out=0.1), WINDOWS, wall=1.2)
    assert breakdown(engine, Stub(), WINDOWS, wall=1.5) == {}


def test_parts_of_a_real_bundle(bundle_folder: Path) -> None:
    variant = Variant(str(bundle_folder), "model.onnx", "fp32", "onnxruntime-cpu")
    with variant.open(1) as runner:
        parts = breakdown(variant, runner, WINDOWS, wall=1e6, threads=1)
    assert set(parts) == {"front_end", "network", "host"}
    assert min(parts.values()) > 0
    assert sum(parts.values()) == pytest.approx(1e6)


def test_every_node_of_a_real_profile_is_named_by_its_module(bundle_folder: Path, tmp_path: Path) -> None:
    import json

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "p")
    session = onnxruntime.InferenceSession(str(bundle_folder / "model.onnx"), options, ["CPUExecutionProvider"])
    session.run(None, {"waveform": WINDOWS})
    profile = json.loads(Path(session.end_profiling()).read_text())
    names = [e["name"] for e in profile if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
    foreign = [n for n in names if not n.startswith(("frontend", "model", "head", "Reorder", "Transpose"))]
    assert len(names) > 50  # Reorder and Transpose are its own, for the layout that its kernels want
    assert not foreign


def test_parts_of_pytorch(run_folder: Path) -> None:
    variant = Variant(str(run_folder), "", "fp32", "torch")
    with open_runner(run_folder) as runner:
        before = runner.predict(WINDOWS)
        parts = breakdown(variant, runner, WINDOWS, wall=1e6)
        assert set(parts) == {"front_end", "network", "host"}
        assert min(parts.values()) > 0
        path: Any = runner
        assert not path.path.frontend._forward_hooks  # they are gone
        np.testing.assert_array_equal(runner.predict(WINDOWS), before)


def test_a_file_that_was_changed_is_not_profiled(bundle_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "b"))
    variant = Variant(str(folder), "model.onnx", "fp32", "onnxruntime-cpu")
    with variant.open(1) as runner:
        content = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(content[:-1] + b"x")
        with pytest.raises(BundleError, match=r"model\.onnx: changed since its export"):
            breakdown(variant, runner, WINDOWS, wall=5.0, threads=1)
