"""One graph to the precision of a target: what is recorded, kept higher, refused and blamed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fdan_edge.errors import ConfigError, ExportError
from fdan_edge.export import activation_ranges, sensitivity
from fdan_edge.export.gate import Answers, Check, compare
from fdan_edge.export.int8 import plan
from fdan_edge.export.precision import CalibrationSet, lower
from fdan_edge.runtime.deploy_targets import U8S8, find_target
from tests.helpers.graphs import network, waves


def judged(moved: float) -> Check:
    """The comparison of a recording of which a probability moved so far to another class."""
    expected = np.array([[0.8, 0.1, 0.1]], np.float32)
    got = expected + np.float32(moved) * np.array([-1, 1, 0], np.float32)
    return compare(Answers(expected, [0], ("a", "b", "c"), [None], "here"), got, "int8")


def samples(**settings: object) -> CalibrationSet:
    return CalibrationSet(waves(16), waves(8, seed=2), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "precision", "made", "form"),
    [
        ("cpu", "", "fp32", None),
        ("rtx", "", "fp16", None),
        ("cpu", "int8", "int8", "u8s8"),
        ("jetson-jp6", "int8", "int8", "s8s8"),
    ],
)
def test_each_target_gets_its_own(
    target: str, precision: str, made: str, form: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "m.onnx"
    lowered = lower(network(), file, find_target(target), precision, samples())
    assert (lowered.file, lowered.precision, lowered.format, lowered.kept) == (file, made, form, ())
    written = onnx.load(str(file))
    assert written.opset_import[0].version == lowered.opset == (19 if form == "s8s8" else 18)
    np.testing.assert_allclose(
        activation_ranges.probabilities(written, waves(4)),
        activation_ranges.probabilities(network(), waves(4)),
        atol=0.1,
    )


def test_a_precision_that_a_target_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="target cpu does not run precision 'fp16'"):
        lower(network(), tmp_path / "m.onnx", find_target("cpu"), "fp16")
    assert not list(tmp_path.iterdir())


def test_int8_needs_recordings(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="int8 is calibrated on recordings"):
        lower(network(), tmp_path / "m.onnx", find_target("cpu"), "int8")


def test_the_choice_of_a_calibration_is_recorded_with_its_figures(tmp_path: Path) -> None:
    record = lower(network(), tmp_path / "m.onnx", find_target("cpu"), "int8", samples()).calibration
    assert record is not None
    assert (record.windows, record.weight_bits) == (16, 7)
    assert record.compared_on == "8 windows of the validation part"
    assert set(record.compared) == set(activation_ranges.METHODS)
    assert record.method == min(record.compared, key=lambda name: record.compared[name].mean_difference or 1)
    for figures in record.compared.values():
        assert figures.mean_difference
        assert figures.max_difference
        assert 0 < figures.mean_difference < figures.max_difference


def test_one_pass_serves_every_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    passes: list[int] = []
    collect = activation_ranges.collect

    def counted(*arguments: Any) -> dict[str, activation_ranges.Histogram]:
        passes.append(1)
        return collect(*arguments)

    monkeypatch.setattr(activation_ranges, "collect", counted)
    sound = samples()
    for target in ("cpu", "rtx"):
        lower(network(), tmp_path / f"{target}.onnx", find_target(target), "int8", sound)
    assert len(passes) == 1


def test_layers_are_kept_higher_until_the_judge_is_content(tmp_path: Path) -> None:
    def judge(file: Path) -> Check:
        return judged(0.2 if len(quantised_layers(file)) > 2 else 0.01)

    lowered = lower(network(), tmp_path / "m.onnx", find_target("cpu"), "int8", samples(judge=judge))
    assert len(lowered.kept) == 2
    everything = plan(network(), U8S8).layers
    assert set(lowered.kept) == set(everything) - quantised_layers(lowered.file)


@pytest.mark.parametrize("moved", [0.2, math.nan])
def test_what_never_passes_is_refused_with_the_layers_to_blame(moved: float, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    with pytest.raises(
        ExportError,
        match=r"int8 is too far .*\(here\): UAR .*; total var.*most noise comes from .*valid: --precision fp32",
    ):
        lower(network(), file, find_target("cpu"), "int8", samples(judge=lambda _: judged(moved)))
    assert not file.exists()


def test_the_costliest_layer_comes_first() -> None:
    """One weight of 200 times the size of the others leaves these a step or none."""
    single = spoiled(network(), "model.acoustic.backbone.block.conv2.weight", one=200.0)
    histograms = activation_ranges.collect(single, plan(single, U8S8).tensors, waves(16))
    ranges = {name: histogram.range("minmax") for name, histogram in histograms.items()}
    found = sensitivity.costs(single, ranges, U8S8, waves(8))
    assert set(found) == set(plan(single, U8S8).layers)
    assert next(iter(found)) == "backbone.block.conv2"
    assert [*found.values()] == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("layer", ["stem", "block.conv1", "block.conv2"])
def test_a_layer_with_wrong_weights_is_blamed_first(layer: str) -> None:
    made = spoiled(network(), f"model.acoustic.backbone.{layer}.weight", noise=0.3)
    worst = sensitivity.noisiest_layers(network(), made, waves(4))
    assert worst[0].layer == f"backbone.{layer}"
    assert worst[0].after > 10 * worst[0].before
    assert f"backbone.{layer} (noise " in str(worst[0])
    assert len(worst) == 3


def test_blame_finds_layers_whose_relu_was_folded(tmp_path: Path) -> None:
    lowered = lower(network(), tmp_path / "m.onnx", find_target("cpu"), "int8", samples())
    found = sensitivity.noisiest_layers(network(), onnx.load(str(lowered.file)), waves(4), count=9)
    assert {one.layer for one in found} == {*plan(network(), U8S8).layers, "classifier"}
    assert max(one.after for one in found) < 0.01


def quantised_layers(file: Path) -> set[str]:
    names = [tensor.name for tensor in onnx.load(str(file)).graph.initializer]
    ending = "/weight_quantized"
    layers = [name.removesuffix(ending).rpartition("/")[0] for name in names if name.endswith(ending)]
    return {layer.removeprefix("model.").removeprefix("acoustic.") for layer in layers}


def spoiled(model: onnx.ModelProto, name: str, *, one: float = 0.0, noise: float = 0.0) -> onnx.ModelProto:
    """With one weight of every output made larger, or noise added to all."""
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(weight).copy()
    values[:, 0, 0, 0] *= 1 + one
    values += noise * values.std() * np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return model
