"""The acoustic path of a run as one self-contained ONNX file."""

from __future__ import annotations

import ast
import copy
import logging
import warnings
from collections import Counter

import onnx
import torch
from torch import Tensor, nn

from fdan_edge.errors import ExportError, one_line
from fdan_edge.export.onnx_graph import splice
from fdan_edge.models.fdan import AcousticPath
from fdan_edge.models.layers.norm import unfuse
from fdan_edge.models.log_mel import LogMel
from fdan_edge.runtime.model_spec import METADATA_KEY, ModelSpec

#: TensorRT 10.3 of JetPack 6 reads opset 17 to 20; 18 is the exporter's own, so nothing is converted.
OPSET = 18


def export_graph(path: AcousticPath, spec: ModelSpec) -> onnx.ModelProto:
    """Export waveform -> probabilities in fp32, with `spec` in its metadata; other precisions are made from it.

    The batch is dynamic, the window fixed; weights are inside the file.

    Raises:
        ExportError: the exporter failed, or its graph is not valid ONNX.
    """
    try:
        model = _export(path, spec.window, "probabilities")
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, spec.to_json()
        model.producer_name = "fdan-edge"
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the exporter raises many kinds
        raise ExportError(f"export to ONNX failed: {type(error).__name__}: {one_line(error)}") from error
    return model


def with_front_end(model: onnx.ModelProto, frontend: LogMel, window: int) -> onnx.ModelProto:
    """Copy an exported graph, with another front end of the same shape before the network.

    Raises:
        ExportError: the exporter failed.
    """
    try:
        return splice(model, front_end_graph(frontend, window, "decibel"))
    except Exception as error:  # the exporter raises many kinds
        raise ExportError(f"export to ONNX failed: {type(error).__name__}: {one_line(error)}") from error


def front_end_graph(frontend: LogMel, window: int, output: str) -> onnx.ModelProto:
    """Export a front end alone: waveform (n, window) -> log-mels, with nodes named as in an acoustic path.

    Args:
        frontend: it.
        window: samples.
        output: name of the graph's output.
    """
    return _export(_Named(frontend), window, output)


class _Named(nn.Module):
    """A front end under the name that it has in an acoustic path."""

    def __init__(self, frontend: LogMel) -> None:
        super().__init__()
        self.frontend = frontend

    def forward(self, waveform: Tensor) -> Tensor:
        decibel: Tensor = self.frontend(waveform)
        return decibel


def _export(path: nn.Module, window: int, output: str) -> onnx.ModelProto:
    # Two, not one: with a batch of one the exporter would take the batch for a constant.
    example = torch.zeros(2, window)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    path = unfuse(copy.deepcopy(path))
    for module in path.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # a fifth of a MobileNetV2's export goes into undoing it
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            path.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["waveform"],
            output_names=[output],
            dynamic_shapes={"waveform": {0: torch.export.Dim("batch", min=1, max=1024)}},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _name_pooling(model.graph)
    _name_nodes(model.graph)
    model.graph.doc_string = ""
    return model


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Call nodes by the module that they come from, as in `model.acoustic.backbone.conv1/Conv`, and tensors by
    the node that makes them.

    Profiles tell the front end from the network by it, and people find their layers. ONNX Runtime calls what it
    fuses by the tensor that comes out. What the exporter notes beside it goes: file names of this machine.
    """
    seen: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    kept = {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
        module = scopes[-2] if len(scopes) > 1 else ""
        if len(node.input) > 1 and node.input[1].endswith(".weight"):
            module = node.input[1].removesuffix(".weight")  # a folded normalisation gave the node its own name
        name = f"{module or 'head'}/{node.op_type}"
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
        del node.metadata_props[:]
        for number, output in enumerate(node.output):
            if output and output not in kept:
                renamed[output] = node.name if number == 0 else f"{node.name}:{number}"
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _name_pooling(graph: onnx.GraphProto) -> None:
    """Turn means over all places into the op for it, of which runtimes have a kernel in 8 bits."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
            continue
        axes = onnx.numpy_helper.to_array(constants[node.input[1]]).tolist()
        keeps = any(attribute.name == "keepdims" and attribute.i for attribute in node.attribute)
        if keeps and sorted(axis % 4 for axis in axes) == [2, 3] and min(axes) in (-2, 2):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]
    used = {name for node in graph.node for name in node.input}
    for tensor in constants.values():
        if tensor.name not in used:
            graph.initializer.remove(tensor)
