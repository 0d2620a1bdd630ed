"""Whether a graph is counted as PyTorch counts its network."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fdan_edge.models.fdan import AcousticPath, Fdan
from fdan_edge.profiling.graph_cost import cost


def check_operations(network: Fdan, path: AcousticPath, window: int, file: Path) -> None:
    """Compare operations and bytes of weights of an exported file with those of its network."""
    counted = cost(onnx.load(file))
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused one is not counted
        path(torch.zeros(1, window))
    assert 2 * counted.total.macs == counter.get_total_flops()
    modules = (network.acoustic, network.classifier, path.frontend)
    size = 4 * sum(tensor.numel() for module in modules for tensor in module.parameters())
    assert counted.total.weight_bytes == pytest.approx(size, rel=0.02)  # batch norm is folded into convolutions
