"""What models answer: probabilities, or one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from onnx import NodeProto, TensorProto

from fdan_edge.errors import BundleError
from fdan_edge.runtime import onnx_session
from fdan_edge.runtime.opening import open_runner
from fdan_edge.runtime.runner import checked_probabilities
from tests.helpers.tiny_models import SPEC
from tests.runtime.test_onnx_check import graph, node, summed, tensor

QUIET = np.zeros((2, 4), np.float32)


def single(values: list[list[float]]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_probabilities_are_let_through(kind: type) -> None:
    given: NDArray[Any] = np.array([[0.25, 0.75], [1, 0]], kind)
    checked = checked_probabilities(given, QUIET, SPEC, "m")
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, given)
    assert checked_probabilities(np.zeros((0, 2), np.float32), QUIET[:0], SPEC, "m").shape == (0, 2)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.array([["a", "b"]] * 2), "gave <U1, not float32"),
        (np.zeros((2, 2)), "gave float64, not float32"),
        ([[0.5, 0.5]] * 2, "gave list, not float32"),
        (np.zeros((3, 2), np.float32), r"of shape \(3, 2\), not \(2, 2\)"),
        (np.zeros((2, 3), np.float32), r"of shape \(2, 3\), not \(2, 2\)"),
        (single([[0.5, 0.5], [np.nan, 0.5]]), "not finite"),
        (single([[0.5, 0.5], [np.inf, -np.inf]]), "not finite"),
        (single([[0.5, 0.5], [3698, -3697]]), "no probabilities: -3697 to 3698, with the sum 1"),
        (single([[0.5, 0.5], [0.5, 0.4]]), "with the sum 0.9"),
        (single([[0, 0], [0, 1]]), "with the sum 0"),
    ],
)
def test_other_answers_are_refused(given: ArrayLike, reason: str) -> None:
    with pytest.raises(BundleError, match=f"^m.onnx: gave .*{reason}|^m.onnx: {reason}"):
        checked_probabilities(given, QUIET, SPEC, "m.onnx")


@pytest.mark.parametrize("rows", [1, 16, 500])  # few are checked by other means than many
@pytest.mark.parametrize("wrong", [[np.nan, 0.5], [0.5, np.nan], [np.inf, -np.inf], [1.03, -0.03], [0.5, 0.47]])
def test_one_wrong_answer_among_others(rows: int, wrong: list[float]) -> None:
    given = np.tile(single([[0.25, 0.75]]), (rows, 1))
    taken = np.zeros((rows, 4), np.float32)
    np.testing.assert_array_equal(checked_probabilities(given, taken, SPEC, "m"), given)
    given[rows // 2] = wrong
    with pytest.raises(BundleError, match=r"no probabilities|not finite"):
        checked_probabilities(given, taken, SPEC, "m")


@pytest.mark.parametrize("sample", [np.nan, np.inf, 1e30])
def test_the_input_may_explain_them(sample: float) -> None:
    """Then it is the recording that cannot be used, not the model."""
    taken = QUIET.copy()
    taken[1, 2] = sample
    given = single([[0.5, 0.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(checked_probabilities(given, taken, SPEC, "m"), given)
    with pytest.raises(BundleError, match="not finite"):
        checked_probabilities(given[::-1], taken, SPEC, "m")


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (
            [node("Gather", ["waveform", "far"], ["n"], axis=1, name="\x1b[31m")],
            r"failed: .*\\x1b\[31m.* out of data",
        ),
        ([node("Log", ["waveform"], ["m"]), node("Mul", ["m", "zero"], ["n"])], "not finite numbers"),
    ],
)
def test_a_model_that_fails_when_it_runs(tmp_path: Path, nodes: list[NodeProto], reason: str) -> None:
    constants = [tensor("far", [99]), tensor("zero", [0.0], TensorProto.FLOAT)]
    (tmp_path / "m.onnx").write_bytes(graph([*nodes, summed("n")], constants))
    with open_runner(tmp_path / "m.onnx", threads=1) as runner, pytest.raises(BundleError, match=reason) as caught:
        runner.predict(QUIET)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.INT64])
def test_outputs_of_other_types(tmp_path: Path, kind: int) -> None:
    import onnx

    model = onnx.load_from_string(graph([node("Neg", ["waveform"], ["n"]), summed("n")]))
    model.graph.node[-1].output[0] = "p"
    model.graph.node.append(node("Cast", ["p"], ["probabilities"], to=kind))
    model.graph.output[0].type.tensor_type.elem_type = kind
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(BundleError, match=r"probabilities is tensor\(\w+\), not tensor\(float\)"):
        open_runner(tmp_path / "m.onnx")


def test_many_windows_are_run_in_halves_where_memory_is_short(tmp_path: Path) -> None:
    """Of one window the inner tensor has 2 MB, of a thousand more than the limit."""
    nodes = [node("Tile", ["waveform", "times"], ["n"]), node("ReduceMax", ["n"], ["m"], keepdims=0)]
    nodes += [node("Mul", ["m", "zero"], ["extra"])]
    constants = [tensor("times", [1, 1 << 17]), tensor("zero", 0.0, TensorProto.FLOAT)]
    (tmp_path / "m.onnx").write_bytes(graph(nodes, constants))
    assert onnx_session.MOST_MEMORY < 500 * (1 << 21)
    with open_runner(tmp_path / "m.onnx", threads=1) as runner:
        windows = np.random.default_rng(0).random((500, 4), np.float32)
        expected = np.exp(windows[:, :2]) / np.exp(windows[:, :2]).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(runner.predict(windows), expected, atol=1e-6)
