"""Targets times precisions: which files an export makes."""

from __future__ import annotations

import re

import pytest

from fdan_edge.errors import ConfigError
from fdan_edge.export.int8 import FORMATS
from fdan_edge.export.plan import plan, target_of_tensorrt
from fdan_edge.runtime.deploy_targets import (
    PRECISIONS,
    TARGETS,
    check_precision,
    default_precisions,
    find_target,
)
from fdan_edge.runtime.runtime_choice import DEPLOYED, FLAVOURS


def planned(targets: list[str], precisions: list[str]) -> list[tuple[str, str, str | None, list[str]]]:
    return [(p.file, p.precision, p.format, [t.name for t in p.targets]) for p in plan(targets, precisions)]


def test_defaults() -> None:
    assert planned(["cpu"], []) == [("model.onnx", "fp32", None, ["cpu"])]
    assert planned(["rtx"], []) == [("model.onnx", "fp16", None, ["rtx"])]


def test_a_graph_is_made_once_for_all_targets_that_read_it() -> None:
    assert planned(["rtx", "jetson-jp6", "jetson-jp7", "rtx"], []) == [
        ("model.onnx", "fp16", None, ["rtx", "jetson-jp6", "jetson-jp7"])
    ]
    assert planned(["cpu", "rtx"], ["fp32", "int8"]) == [
        ("model.onnx", "fp32", None, ["cpu", "rtx"]),
        ("model.int8-u8s8.onnx", "int8", "u8s8", ["cpu"]),
        ("model.int8-s8s8.onnx", "int8", "s8s8", ["rtx"]),
    ]


def test_each_target_gets_the_precisions_that_it_runs() -> None:
    assert planned(["cpu", "rtx"], ["int8", "fp16"]) == [
        ("model.onnx", "int8", "u8s8", ["cpu"]),
        ("model.int8-s8s8.onnx", "int8", "s8s8", ["rtx"]),
        ("model.fp16.onnx", "fp16", None, ["rtx"]),
    ]


def test_a_target_that_runs_none_of_the_precisions(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(["cpu", "rtx"], ["fp16"]) == [("model.onnx", "fp16", None, ["rtx"])]
    assert capsys.readouterr().err == "left out: target cpu, which runs fp32 and int8 only\n"
    with pytest.raises(ConfigError, match="target cpu does not run precision 'fp16'; valid: fp32, int8"):
        plan(["cpu"], ["fp16"])


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown target 'jetson'.*did you mean jetson-jp"):
        plan(["jetson"], [])
    with pytest.raises(ConfigError, match=r"unknown precision 'fp8'.*valid: fp32, fp16, int8"):
        plan(["cpu"], ["fp8"])


@pytest.mark.parametrize("name", TARGETS)
def test_an_entry_of_the_table(name: str) -> None:
    """What every entry must keep to, a new one too."""
    target = TARGETS[name]
    assert find_target(name) is target
    assert target.name == name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert {target.runtime, *target.also} <= {*DEPLOYED}
    assert target.precisions
    assert set(target.precisions) <= set(PRECISIONS)
    assert check_precision(target, "") == target.precisions[0]
    assert target.int8 in FORMATS if "int8" in target.precisions else not target.int8
    assert target.opsets[0] <= 18 <= target.opsets[1]  # what the exporter writes
    assert target.engine in (None, *FLAVOURS.values())
    assert target.engine or target.runtime.startswith("onnxruntime")
    assert bool(target.architectures) == bool(target.engine)
    assert target.title
    assert target.install
    if target.ops is not None:
        assert {"Conv", "LayerNormalization", "QuantizeLinear", "DequantizeLinear", "Softmax"} <= target.ops
        assert not {"DFT", "MelWeightMatrix", "ConvInteger", "QLinearConv"} & target.ops


def test_jetpack_6_has_no_stft() -> None:
    assert "STFT" not in (TARGETS["jetson-jp6"].ops or ())


def test_default_precisions_are_told_in_a_few_words() -> None:
    told = dict(part.split(": ") for part in default_precisions().split(", "))
    others = told.pop("others")
    assert (told["cpu"], others) == ("fp32", "fp16")
    assert all(target.precisions[0] == told.get(name, others) for name, target in TARGETS.items())
    assert others not in told.values()


@pytest.mark.parametrize(
    ("target", "version", "takes"),
    [
        ("jetson-jp6", "10.3.0.30", True),
        ("jetson-jp6", "10.4.0", False),
        ("jetson-jp6", "10.2.9", False),
        ("jetson-jp7", "10.16.0", True),
        ("jetson-jp7", "11.0.0", True),
        ("cuda", "8.6.1", False),
        ("cpu", "", True),
    ],
)
def test_versions_of_tensorrt(target: str, version: str, takes: bool) -> None:
    assert TARGETS[target].takes_tensorrt(version) is takes


@pytest.mark.parametrize(
    ("module", "version", "machine", "name"),
    [
        ("tensorrt_rtx", "1.2.0.54", "x86_64", "rtx"),
        ("tensorrt", "10.3.0", "aarch64", "jetson-jp6"),
        ("tensorrt", "10.16.1", "aarch64", "jetson-jp7"),
        ("tensorrt", "10.7.0", "aarch64", "jetson-jp7"),  # of neither: the newer says what is missing
        ("tensorrt", "10.3.0", "x86_64", "cuda"),
        ("tensorrt", "8.6.1", "x86_64", "cuda"),
    ],
)
def test_the_target_of_an_installed_tensorrt(module: str, version: str, machine: str, name: str) -> None:
    assert target_of_tensorrt(module, version, machine).name == name
