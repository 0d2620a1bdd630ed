"""Which layers a precision costs most: for keeping them higher, and for saying what is to blame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from fdan_edge.export.activation_ranges import Range, Windows, probabilities, watch
from fdan_edge.export.int8 import plan, quantize
from fdan_edge.export.onnx_graph import Graph, in_network, layer_of

_BATCH = 8  # windows: enough to put layers in order


@dataclass(frozen=True)
class LayerNoise:
    """What a layer adds to the noise."""

    layer: str
    before: float  # noise to signal of its inputs, power
    after: float  # of its output

    def __str__(self) -> str:
        return f"{self.layer} (noise {_decibel(self.before)} to {_decibel(self.after)} of the signal)"


def costs(model: onnx.ModelProto, ranges: dict[str, Range], form: str, windows: Windows) -> dict[str, float]:
    """Give layers with the mean probability difference that quantising each alone makes, the costliest first.

    Args:
        model: in fp32.
        windows: (n, window), of which the first few are used.
    """
    windows = windows[:_BATCH]
    expected = probabilities(model, windows)
    layers = plan(model, form).layers
    differences = {}
    for layer in layers:
        alone = plan(model, form, kept=frozenset(layers) - {layer})
        got = probabilities(quantize(model, alone, ranges, form, half=False), windows)
        differences[layer] = float(np.abs(got - expected).mean())
    return dict(sorted(differences.items(), key=lambda item: -item[1]))


def noisiest_layers(
    model: onnx.ModelProto, artifact: onnx.ModelProto, windows: Windows, count: int = 3
) -> list[LayerNoise]:
    """Find the layers that add most noise in an artifact, the worst first.

    Noise is what a tensor differs from fp32's, as a share of its power; a layer adds what its output has more than
    the noisiest of its inputs.

    Args:
        model: in fp32.
        artifact: of any precision, made from it.
        windows: (n, window), of which the first few are used.
    """
    graph, lowered = Graph(model), Graph(artifact)
    layers = [node for node in graph.nodes if in_network(node) and graph.has_weights(node)]
    outputs = {node.name: _seen(graph, lowered, node.output[0]) for node in layers}
    wanted = {name for name in outputs.values() if name}
    wanted |= {name for node in layers for name in graph.computed(node) if name in lowered.producer}
    noise = _noise(model, artifact, sorted(wanted), windows[:_BATCH])
    noises = []
    for node in layers:
        if output := outputs[node.name]:
            before = max((noise[name] for name in graph.computed(node) if name in noise), default=0.0)
            noises.append(LayerNoise(layer_of(node), before, noise[output]))
    return sorted(noises, key=lambda noise: noise.before - noise.after)[:count]


def _seen(graph: Graph, lowered: Graph, name: str) -> str:
    """Give the tensor, or where a ReLU was folded into a layer the ReLU's output."""
    if name in lowered.producer:
        return name
    followers = [output for reader in graph.readers[name] for output in reader.output]
    return next((output for output in followers if output in lowered.producer), "")


def _noise(
    model: onnx.ModelProto, artifact: onnx.ModelProto, names: list[str], windows: Windows
) -> dict[str, float]:
    """Give the noise of tensors in an artifact, as a share of their power."""
    # A ReLU that was folded into a layer cuts off where the layer's output becomes 8 bits.
    known = Graph(artifact).producer
    lowered = [f"{name}_dequantized" if f"{name}_dequantized" in known else name for name in names]
    expected = watch(model, names).run(names, {"waveform": windows})
    got = watch(artifact, lowered).run(lowered, {"waveform": windows})
    shares = {}
    for name, reference, values in zip(names, expected, got, strict=True):
        reference = np.asarray(reference, np.float64)
        share = np.square(values - reference).mean() / max(np.square(reference).mean(), 1e-30)
        shares[name] = float(share) if np.isfinite(share) else np.inf
    return shares


def _decibel(share: float) -> str:
    return f"{10 * np.log10(max(share, 1e-12)):.0f} dB"
