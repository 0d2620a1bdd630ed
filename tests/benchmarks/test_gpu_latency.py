"""benchmarks/gpu_latency.py on the CPU: real models, real files, and the arithmetic."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fdan_edge.profiling.bench import time_block
from fdan_edge.profiling.cards import CARDS, card_of
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.opening import Variant, variants
from fdan_edge.runtime.runtime_choice import why_not
from fdan_edge.runtime.source import Source
from fdan_edge.runtime.tensorrt import compatibility
from tests.helpers.bundles import graph_cost, layer_cost
from tests.helpers.exported import KeptGraphs

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import gpu_latency as script

SMALL = ["backbone=vgg8", "n_mels=32", "hop=512", "window_seconds=1.0", "window_hop_seconds=0.5"]


@pytest.fixture(scope="module", autouse=True)
def kept_graphs() -> Iterator[None]:
    """All networks here are one: it is exported once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "export_graph", KeptGraphs())
        yield


def words(*more: str) -> list[str]:
    settings = [part for word in SMALL[1:] for part in ("--set", word)]
    return ["--device", "cpu", "--backbones", "vgg8", *settings, *more]


@pytest.mark.slow
def test_everything_of_a_processor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "latency.json"
    script.main(words("--runs", "5", "--batches", "1", "2", "--out", str(out)))
    made = json.loads(out.read_text())["models"]["vgg8"]
    ways = [("fp32", "torch"), ("fp32", "onnxruntime-cpu"), ("int8", "onnxruntime-cpu")]
    assert [(r["precision"], r["runtime"], r["batch"]) for r in made["rows"]] == [
        (*way, batch) for batch in (1, 2) for way in ways
    ]
    assert all(0 < row["min"] <= row["p50"] <= row["p95"] <= row["p99"] for row in made["rows"])
    assert made["rows"][0]["ratio"] == [1, 1, 1]
    assert made["best"]["way"].endswith("by onnxruntime-cpu")
    assert [e["precision"] for e in made["estimates"]] == ["fp32", "fp32"]  # int8 peaks of this processor: unknown
    assert made["left_out"] == []
    text = capsys.readouterr().out
    assert "best at batch 1" in text
    estimate = made["estimates"][0]
    assert f"{estimate['measured']:.3f}" in text  # what the estimate is held against stands beside it
    assert f"{estimate['estimate']:.3f}" in text


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.setattr(compatibility, "find_gpu", lambda: None)


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_files_of_a_gpu(tmp_path: Path) -> None:
    """Bundle and run are whole: everything that opens bundles opens them; classic TensorRT builds on its card."""
    run = script.untrained(tmp_path / "run", [*SMALL, "weights=none"])
    notes = script.write_bundle(run, tmp_path / "bundle", ("cuda",), ("fp32", "fp16", "int8"))
    assert [note.split(":")[0] for note in notes] == [
        f"{file}, target cuda" for file in ("model.onnx", "model.fp16.onnx", "model.int8.onnx")
    ]
    assert [(a.precision, a.format) for a in Bundle.open(tmp_path / "bundle").artifacts] == [
        ("fp32", None),
        ("fp16", None),
        ("int8", "s8s8"),
    ]
    answers = []
    for variant in [*variants(run), *variants(tmp_path / "bundle")]:
        with variant.open(threads=1) as runner:
            answers.append(runner.predict(script.noise(np.random.default_rng(0), 2, runner)))
    assert len(answers) == 4
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=0.1)
    assert "finds none" in str(why_not(Source.open(tmp_path / "bundle"), "onnxruntime-cuda"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> script.Model:
    """In fp32, for a processor."""
    folder = tmp_path_factory.mktemp("model")
    run = script.untrained(folder / "run", [*SMALL, "weights=none"])
    return script.Model(
        "m", run, folder / "bundle", script.write_bundle(run, folder / "bundle", ("cpu",), ("fp32",))
    )


def measured_without(model: script.Model, kind: str, why: str, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is measured at batch 1 where runners of a kind fail."""

    def fails(runner: Any, heard: Any, calls: int) -> list[float]:
        if runner.name.startswith(kind):
            raise RuntimeError(why)
        return time_block(runner, heard, calls)

    patch.setattr(script, "time_block", fails)
    arguments = script.build_parser().parse_args(
        words("--runs", "5", "--batches", "1", "--runtimes", *script.ON_CPU)
    )
    kept: list[dict[str, Any]] = []
    script.measured(model, arguments, None, kept.append)
    (made,) = kept
    return made


def test_one_way_that_fails_leaves_the_others(model: script.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made = measured_without(model, "ONNX", "out of memory\nand more", monkeypatch)
    assert [row["runtime"] for row in made["rows"]] == ["torch"]
    assert made["left_out"] == ["fp32 by onnxruntime-cpu, batch 1: out of memory"]
    assert (made["best"], made["met"]) == (None, None)


def test_without_eager_there_is_no_ratio(model: script.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made = measured_without(model, "PyTorch", "refused", monkeypatch)
    assert [row["ratio"] for row in made["rows"]] == [None]
    assert made["met"] is None
    assert " - " in script.table("m", made)[1]


def test_what_is_compiled_comes_last(model: script.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its own batch sizes, beside eager, which is in the rows once."""
    names = ("torch-cuda", "torch-compile")
    eager, compiled = (Variant(str(model.run), "", "fp32", name) for name in names)
    with TorchRunner(model.run) as runner:
        ways = [(eager, runner), (compiled, runner)]
        monkeypatch.setattr(script, "opened", lambda *_: ways)
        arguments = script.build_parser().parse_args(words("--runs", "5", "--batches", "1", "2"))
        kept: list[dict[str, Any]] = []
        script.measured(model, arguments, None, kept.append)
    rows = [(row["runtime"], row["batch"]) for row in kept[-1]["rows"]]
    assert rows == [("torch-cuda", 1), ("torch-cuda", 2), ("torch-compile", 1)]
    assert [len(made["rows"]) for made in kept] == [1, 2, 3]


@pytest.mark.usefixtures("no_gpu")
def test_what_cannot_run_says_why(model: script.Model) -> None:
    left_out: list[str] = []
    with ExitStack() as stack:
        ways = script.opened(model, script.ON_GPU, stack, left_out)
    assert ways == []
    assert [line.split(":")[0] for line in left_out] == list(script.ON_GPU)
    assert "needs an NVIDIA GPU and its driver, and finds none" in left_out[2]


def row(runtime: str, batch: int, p50: float, ratio: float, **more: Any) -> dict[str, Any]:
    named = {"artifact": "model.onnx", "precision": "fp32", "runtime": runtime, "batch": batch, "min": p50}
    return {**named, "p50": p50, "ratio": [ratio] * 3, "parts": {}, **more}


def test_the_verdict_is_of_batch_1() -> None:
    rows = [
        row("torch-cuda", 1, 10, 1),
        row("torch-compile", 1, 1, 0.1),
        row("onnxruntime-cuda", 1, 2, 0.2),
        row("tensorrt", 4, 0.5, 0.05),
    ]
    assert script.verdict(rows) == {"best": {"way": "fp32 by onnxruntime-cuda", "ratio": 0.2}, "met": False}
    rows.append(row("tensorrt", 1, 1.5, 0.15))
    assert script.verdict(rows)["met"] is True


def test_estimates_are_held_against_the_time_between_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = graph_cost(layer_cost("model.x/Conv", 67_000_000_000, 1, 1, 1))  # 1 ms at an H100's peak
    monkeypatch.setattr(script, "costs", lambda _: {"model.onnx": cost})
    rows = [row("tensorrt", 1, 4, 1, parts={"compute": 2.0}), row("torch-cuda", 1, 9, 1, artifact="")]
    (made,) = script.estimated(rows, Path(), CARDS["h100"])
    assert (made["measured"], made["bound"]) == (2.0, "compute")
    assert made["estimate"] == pytest.approx(1.002)
    assert made["share"] == pytest.approx(0.501)


def test_cards_by_their_drivers_names() -> None:
    assert card_of("NVIDIA H200") == CARDS["h200"]
    assert card_of("NVIDIA GeForce RTX 4060") == CARDS["rtx4060"]
    assert card_of("NVIDIA GeForce RTX 4060 Laptop GPU") is None
    assert card_of("Orin (nvgpu)") is None


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        script.main([])
    assert capsys.readouterr().err.endswith("can use; --device cpu times the processor\n")
    with pytest.raises(SystemExit):
        script.main(["--device", "cpu", "--batches", "0"])
    assert "'0' is not a number of windows; valid: 1 or more" in capsys.readouterr().err
