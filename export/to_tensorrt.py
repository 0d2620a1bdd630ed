"""An ONNX file to a TensorRT engine, with TensorRT for RTX or with JetPack's classic TensorRT."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdan_edge.errors import ExportError, MissingDependencyError
from fdan_edge.files import write_bytes

MAX_BATCH = 16
#: module -> how its engines are called, best for a desk first
FLAVOURS = {"tensorrt_rtx": "rtx", "tensorrt": "trt"}
INSTALL = "pip install tensorrt-rtx-cu13 (for RTX cards), or use the tensorrt that JetPack brings on a Jetson"


@dataclass(frozen=True)
class Engine:
    """A built engine's file and what it was built with."""

    path: Path
    flavour: str  # rtx or trt
    version: str
    profile: tuple[int, int, int]  # smallest, best and largest batch

    def to_dict(self) -> dict[str, Any]:
        """Plain values for bundle.json."""
        return {"flavour": self.flavour, "version": self.version, "batch": list(self.profile)}


def find_tensorrt(flavour: str | None = None) -> Any:
    """The TensorRT module that is installed, TensorRT for RTX first.

    Raises:
        MissingDependencyError: neither flavour is installed (or not the one asked for).
    """
    for module, name in FLAVOURS.items():
        if flavour in (None, name):
            try:
                return importlib.import_module(module)
            except ImportError:
                continue
    raise MissingDependencyError("TensorRT", "--trt", INSTALL)


def write_engine(onnx_path: Path, folder: Path, window: int, flavour: str | None = None) -> Engine:
    """Build an engine for batches of 1 to 16 windows and write it to `folder`.

    TensorRT for RTX builds ahead of time without a GPU, for Ampere and later; classic TensorRT builds
    on the card that it will run on.

    Raises:
        ExportError: TensorRT does not parse the graph, or cannot build it here.
    """
    tensorrt = find_tensorrt(flavour)
    name = FLAVOURS[tensorrt.__name__]
    messages: list[str] = []
    serialized = _build(tensorrt, onnx_path, window, _logger(tensorrt, messages), messages)
    path = folder / f"model.{name}.engine"
    write_bytes(path, serialized)
    return Engine(path, name, tensorrt.__version__, (1, 1, MAX_BATCH))


def _build(tensorrt: Any, onnx_path: Path, window: int, logger: Any, messages: list[str]) -> bytes:
    builder = _or_refuse(lambda: tensorrt.Builder(logger), "no builder could be made on this machine", messages)
    flags = 0
    # 11.x is always strongly typed; before it, the flag asks for the same.
    strongly_typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if strongly_typed is not None:
        flags = 1 << int(strongly_typed)
    network = builder.create_network(flags)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(onnx_path.read_bytes()):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise ExportError(f"TensorRT {tensorrt.__version__} does not parse {onnx_path}: {'; '.join(errors)}")
    if network.num_inputs != 1:  # an empty file parses, and so does some garbage
        raise ExportError(f"TensorRT: {onnx_path} holds no graph with one input; is it cut short?")
    config = builder.create_builder_config()
    # On by default, it rounds the factors of an fp32 convolution to 11 bits: not what was checked.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, (1, window), (1, window), (MAX_BATCH, window))
    config.add_optimization_profile(profile)
    built = _or_refuse(
        lambda: builder.build_serialized_network(network, config), f"{onnx_path} could not be built", messages
    )
    return bytes(built)


def _or_refuse(make: Callable[[], Any], what: str, messages: list[str]) -> Any:
    """What `make` gives; TensorRT says why it gave nothing in its log only."""
    try:
        made = make()
    except (RuntimeError, TypeError) as error:
        messages.append(str(error))
        made = None
    if made is None:
        raise ExportError(f"TensorRT: {what}: {messages[-1] if messages else 'no reason given'}")
    return made


def _logger(tensorrt: Any, messages: list[str]) -> Any:
    """A logger that keeps errors for our own message instead of printing them."""

    class Logger(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                messages.append(message)

    return Logger()
