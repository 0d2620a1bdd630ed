"""The part of an artifact that a live stream runs: from the mel power on, where windows no longer share frames.

Windows of a stream overlap by over 90 %. The linear part of the front end (Hann window, DFT, power, mel
filterbank) is the same for a frame whatever window it is in, so the device computes it once, in numpy; the rest
(logarithm, level, channel, network) looks at whole windows and is this graph.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.utils

from fdan_edge.errors import BundleError, ExportError, one_line
from fdan_edge.export.gate import compare
from fdan_edge.export.onnx_graph import FRONTEND, Graph
from fdan_edge.export.recordings import ReferenceClips
from fdan_edge.models.log_mel import LogMel
from fdan_edge.runtime.log_mel import FRONT_END_KEY, FrontEnd
from fdan_edge.runtime.manifest import STREAM_SUFFIX, StreamReport
from fdan_edge.runtime.onnx_stream import OnnxFrameRunner, write_front_end
from fdan_edge.runtime.runner import INPUT, OUTPUT, POWER, Probabilities
from fdan_edge.streaming.incremental_mel import WholeWindowRunner
from fdan_edge.utils.files import sha256, write_bytes

#: Of a probability, between a stream graph and its artifact. The power is the exact one of fp32's front end; that
#: of lower precisions is within 2e-3 dB of it, and a rounding to 8 bits can fall to either side: up to 6e-2 was
#: found in int8 (MobileNetV2, 240 clips, where int8 itself was up to 0.14 off), and 7e-6 in fp16.
DIFFERENCE = {"fp32": 1e-4, "fp16": 1e-3, "int8": 0.1}


def write_stream_graph(artifact: Path, frontend: LogMel, window: int) -> Path:
    """Write the stream graph of an ONNX file beside it.

    Raises:
        ExportError: the file has no mel filterbank, or what follows reads more than what that gives.
    """
    file = artifact.with_name(artifact.stem + STREAM_SUFFIX)
    write_bytes(file, stream_graph(onnx.load(str(artifact)), front_end(frontend, window)).SerializeToString())
    return file


def front_end(module: LogMel, window: int) -> FrontEnd:
    """Return what the device must compute for a module."""
    return FrontEnd(module.n_fft, module.hop, 1 + window // module.hop, module.filters)


def stream_graph(model: onnx.ModelProto, frontend: FrontEnd) -> onnx.ModelProto:
    """Copy what a graph does after its filterbank: mel power to probabilities.

    Args:
        model: waveform to probabilities; nodes named as `to_onnx` does.
        frontend: of the graph; it goes into the metadata.

    Raises:
        ExportError: as of `write_stream_graph`.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    _rename(whole.graph, _power_of(whole))
    shape: list[str | int | None] = ["batch", len(frontend.filters), frontend.frames]
    del whole.graph.value_info[:]  # the checker infers them again
    whole.graph.value_info.append(onnx.helper.make_tensor_value_info(POWER, onnx.TensorProto.FLOAT, shape))
    part = onnx.utils.Extractor(whole).extract_model([POWER], [OUTPUT])
    if any(INPUT in node.input for node in part.graph.node):
        raise ExportError(f"no graph for live streams: what follows the mel power reads the {INPUT} too")
    part.graph.name, part.producer_name = model.graph.name, model.producer_name
    part.metadata_props.extend(model.metadata_props)
    part.metadata_props.add(key=FRONT_END_KEY, value=write_front_end(frontend))
    try:
        onnx.checker.check_model(part, full_check=True)
    except Exception as error:  # the checker and its shape inference raise their own kinds
        raise ExportError(f"no graph for live streams: {one_line(error)}") from None
    return part


def check_stream(
    clips: ReferenceClips, file: Path, expected: Probabilities, precision: str, providers: tuple[str, ...]
) -> StreamReport:
    """Compare a stream graph with its artifact on the gate's recordings; give the report for bundle.json.

    Args:
        expected: what the artifact gives, (recordings, C).

    Raises:
        ExportError: it differs by more than `DIFFERENCE`, loses more than the artifact may, or its answers are not
            probabilities.
    """
    try:
        with OnnxFrameRunner(file, providers) as runner:
            probabilities = clips.probabilities(WholeWindowRunner(runner))
    except BundleError as error:
        raise ExportError(
            f"{file.name} ({precision}) does not give what its artifact gives: {one_line(error)}"
        ) from None
    largest = float(np.abs(probabilities - expected).max())
    check = compare(clips.answers, probabilities, precision)
    if largest > DIFFERENCE[precision] or not check.passed:
        raise ExportError(
            f"{file.name} ({precision}) does not give what its artifact gives: a probability differs by "
            f"{largest:.1e} (allowed {DIFFERENCE[precision]:g}); {check.line()}"
        )
    return StreamReport(
        clips=len(probabilities),
        max_difference=round(largest, 8),
        flips=int((probabilities.argmax(1) != expected.argmax(1)).sum()),
        loss=round(check.loss, 4),
        onnx_sha256=sha256(file),
    )


def _power_of(model: onnx.ModelProto) -> str:
    """Return the tensor of the mel power: the filterbank's output times the squared scale of the samples."""
    graph = Graph(model)
    banks = [n for n in graph.nodes if n.op_type == "Conv" and n.name.startswith(f"{FRONTEND}.mel/")]
    readers = [reader for bank in banks for reader in graph.readers[bank.output[0]]]
    if len(banks) != 1 or [reader.op_type for reader in readers] != ["Mul"]:
        raise ExportError("no graph for live streams: there is no mel filterbank whose output is scaled once")
    return str(readers[0].output[0])


def _rename(graph: onnx.GraphProto, name: str) -> None:
    for node in graph.node:
        node.input[:] = [POWER if tensor == name else tensor for tensor in node.input]
        node.output[:] = [POWER if tensor == name else tensor for tensor in node.output]
