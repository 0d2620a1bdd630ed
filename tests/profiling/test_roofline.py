"""Estimates: the arithmetic by hand, the cards' figures against their units and clocks, and this processor."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fdan_edge.errors import BundleError, ConfigError
from fdan_edge.profiling.cards import CARDS, Card, find_cards
from fdan_edge.profiling.roofline import NOTE, calibrate, costs, estimate, estimates
from fdan_edge.runtime.bundle import Bundle, write_manifest
from fdan_edge.runtime.manifest import GraphCost
from tests.helpers.bundles import artifact, graph_cost, layer_cost, manifest

#: 1 Top/s in fp32, 2 in fp16, 4 in int8; 1 GB/s; 10 us from kernel to kernel.
CARD = Card("c", "C", {"fp32": 1e12, "fp16": 2e12, "int8": 4e12}, 1e9, 10e-6)


COST = graph_cost(
    layer_cost("frontend.mel/Conv", 10**6, 3000, 1000),  # 1 us against 4
    layer_cost("model.conv/Conv", 8 * 10**9, 1000, 1000, 2000),  # 8 ms against 4 us
)


def test_the_slower_of_arithmetic_and_memory_counts() -> None:
    one = estimate(COST, CARD, artifact="model.onnx")
    assert (one.precision, one.as_exported, one.kernels, one.note) == ("fp32", True, 2, NOTE)
    assert one.compute == pytest.approx(8)
    assert one.memory == pytest.approx(0.004)
    assert one.launch == pytest.approx(0.02)
    assert one.total == pytest.approx(8.024)
    assert one.front_end == pytest.approx(0.014)
    assert one.bound == "compute"


def test_another_precision_changes_the_network_and_not_the_front_end() -> None:
    one = estimate(COST, CARD, precision="int8")
    assert not one.as_exported
    assert one.compute == pytest.approx(2)  # four times as fast
    assert one.memory == pytest.approx(0.004)  # of the front end: as it was
    network = graph_cost(layer_cost("model.fc/Gemm", 2, 4000, 4000, 8000))
    assert estimate(network, CARD, precision="fp16").memory == pytest.approx(0.008)  # half of the bytes


def test_a_batch_reads_the_weights_once() -> None:
    cost = graph_cost(layer_cost("model.fc/Gemm", 2, 1000, 1000, 8000))
    assert estimate(cost, CARD, batch=10).memory == pytest.approx((10 * 2000 + 8000) / 1e6)


def test_a_runtime_that_does_not_fuse_moves_more_and_launches_more() -> None:
    plain = Card("p", "P", {"fp32": 1e12}, 1e9, 10e-6, fuses=False)
    cost = graph_cost(layer_cost("model.x/Conv", 2, 1000, 1000, 500, nodes=3, unfused_bytes=6500))
    one = estimate(cost, plain)
    assert one.kernels == 3
    assert one.launch == pytest.approx(0.03)
    assert one.memory == pytest.approx(0.0065)


@pytest.mark.parametrize(
    ("name", "cores", "tensor_cores", "ghz", "int8_per_clock", "int8_over_fp16"),
    [
        ("rtx4060", 3072, 96, 2.46, 512, 4),
        ("rtx4090", 16384, 512, 2.52, 512, 4),
        ("orin-nano", 1024, 32, 0.625, 1024, 2),
        ("orin-nano-super", 1024, 32, 1.02, 1024, 2),
        ("agx-orin", 2048, 64, 1.3, 1024, 2),
    ],
)
def test_published_peaks_are_units_times_clock_and_dense(
    name: str, cores: int, tensor_cores: int, ghz: float, int8_per_clock: int, int8_over_fp16: int
) -> None:
    peaks = CARDS[name].peaks
    assert peaks["fp32"] == pytest.approx(2 * cores * ghz * 1e9, rel=0.01)
    int8 = tensor_cores * int8_per_clock * ghz * 1e9
    assert peaks["int8"] == pytest.approx(int8, rel=0.03)  # vendors round
    assert peaks["fp16"] == pytest.approx(int8 / int8_over_fp16, rel=0.03)


def test_cards_are_found_by_name() -> None:
    assert [card.name for card in find_cards(["agx-orin", "rtx4060"])] == ["agx-orin", "rtx4060"]
    with pytest.raises(
        ConfigError, match=r"unknown card .* 'rtx406' \(did you mean rtx4060\?\); valid: rtx4060, "
    ):
        find_cards(["rtx406"])


def test_missing_precisions_are_as_if_the_first_artifact_was_exported_so() -> None:
    half = graph_cost(*(replace(layer, precision="fp16") for layer in COST.layers))
    found = estimates({"model.onnx": COST, "model.fp16.onnx": half}, [CARD])
    assert [(one.artifact, one.precision, one.as_exported) for one in found] == [
        ("model.onnx", "fp32", True),
        ("model.fp16.onnx", "fp16", True),
        ("model.onnx", "int8", False),
    ]


def test_costs_are_read_from_the_manifest_or_counted(bundle_folder: Path, tmp_path: Path) -> None:
    counted = costs(bundle_folder / "model.onnx")["model.onnx"]
    assert counted.total.macs > 1e6
    assert Bundle.open(bundle_folder).artifacts[0].cost == counted
    assert costs(bundle_folder)["model.onnx"] == counted
    with pytest.raises(BundleError, match="no such bundle or file"):
        costs(tmp_path / "none.onnx")


def with_cost(folder: Path, cost: GraphCost | None) -> Path:
    """A bundle whose manifest says that cost of its model."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"model")
    write_manifest(folder, manifest(artifact(folder / "model.onnx", cost=cost)))
    return folder


def test_the_manifests_cost_is_taken_and_a_changed_file_not_counted(tmp_path: Path) -> None:
    assert costs(with_cost(tmp_path / "a", COST)) == {"model.onnx": COST}
    folder = with_cost(tmp_path / "b", None)
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model\.onnx: changed since its export"):
        costs(folder)


def test_a_file_is_not_counted_without_onnx(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert costs(bundle_folder)["model.onnx"].layers
    with pytest.raises(BundleError, match=r"does not say what it costs; .* or count here: pip install onnx"):
        costs(bundle_folder / "model.onnx")


def test_this_processor_is_measured() -> None:
    card = calibrate(1)
    assert set(card.peaks) == {"fp32"}
    # A slow ARM core to a fast one with AVX-512; memory from a Pi's to HBM.
    assert 1e9 < card.peaks["fp32"] < 1e12
    assert 2e8 < card.bandwidth < 1e12
