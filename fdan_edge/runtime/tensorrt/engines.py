"""TensorRT engines: built from an ONNX file at export or on the device, and kept there. Imports no torch.

~/.cache/fdan-edge/engines/HASH-FINGERPRINT.engine    made anew from an ONNX file whose SHA-256 begins with HASH
~/.cache/fdan-edge/engines/HASH-FINGERPRINT.json      its fingerprint and SHA-256; without it there is no engine
~/.cache/fdan-edge/engines/HASH-FINGERPRINT.jit       what TensorRT for RTX compiles at its first run
~/.cache/fdan-edge/engines/FINGERPRINT.timing         what classic TensorRT has measured of layers
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fdan_edge.errors import ExportError, MissingDependencyError, one_line
from fdan_edge.runtime.deploy_targets import Target
from fdan_edge.runtime.manifest import EngineFile
from fdan_edge.runtime.onnx_check import MOST_BYTES, check_model, read_model
from fdan_edge.runtime.tensorrt import compatibility, freeing
from fdan_edge.runtime.tensorrt.batches import PROFILES
from fdan_edge.runtime.tensorrt.build_progress import BuildProgress
from fdan_edge.runtime.tensorrt.compatibility import (
    MODULES,
    PORTABLE,
    TITLES,
    Fingerprint,
    Gpu,
    Machine,
    system,
    this_machine,
)
from fdan_edge.runtime.typed_json import from_json, to_json
from fdan_edge.utils.files import cache_home, write_bytes, write_json
from fdan_edge.utils.messages import warn_once
from fdan_edge.utils.small_files import read_at_most, read_json

#: Smallest, best and largest batch of every engine: of all its profiles, and of single requests.
BATCH = (PROFILES[0].smallest, PROFILES[0].best, PROFILES[-1].largest)
#: Turing has no portable engine: TensorRT for RTX builds for it alone.
TURING = "7.5"
INSTALL = "pip install tensorrt-rtx-cu13 (for RTX cards), or use the tensorrt that JetPack brings on a Jetson"
# What a layer may use while it is timed and run; a Jetson Orin Nano has 8 GB for everything.
_WORKSPACE = 1 << 30


@dataclass(frozen=True)
class Engine:
    """An engine's file and what it was built with."""

    path: Path
    fingerprint: Fingerprint

    def listed(self, artifact: str, target: str) -> EngineFile:
        """Return the entry of bundle.json of an engine that was just built."""
        return EngineFile(self.path.name, artifact, target, self.fingerprint, BATCH, PROFILES)


def find_tensorrt(flavour: str | None = None) -> Any:
    """Return the TensorRT module that is installed, TensorRT for RTX first.

    Raises:
        MissingDependencyError: neither flavour is installed (or not the one asked for).
    """
    for name, module in MODULES.items():
        if flavour in (None, name):
            try:
                return importlib.import_module(module)
            except ImportError:
                continue
    raise MissingDependencyError(TITLES.get(flavour or "", "TensorRT"), "an engine", INSTALL)


def engine_name(artifact: str, flavour: str, compute_capability: str = PORTABLE) -> str:
    """Name the file of an engine in a bundle: `model.fp16.rtx.engine`, `model.fp16.rtx-sm75.engine`."""
    turing = "-sm75" if flavour == "rtx" and compute_capability == TURING else ""
    return f"{Path(artifact).stem}.{flavour}{turing}.engine"


def build_for(target: Target, onnx_path: Path, precision: str) -> tuple[list[Engine], list[str]]:
    """Return all engines of an artifact for a target that can be built on this machine, beside the artifact.

    TensorRT for RTX builds without a GPU: one for Ampere and later, and one for Turing where that takes the graph.
    Classic TensorRT builds on the card that runs it, so on another machine there is nothing to build.

    Returns:
        The engines, and a line for each that is not there.

    Raises:
        ExportError: the target's TensorRT does not take the graph at all.
        MissingDependencyError: TensorRT for RTX is wanted and not installed.
    """
    if target.engine == "rtx":
        portable = build(onnx_path, "rtx", precision)
        try:
            return [portable, build(onnx_path, "rtx", precision, TURING)], []
        except ExportError as error:
            return [portable], [f"no engine for Turing (compute capability {TURING}): {error}"]
    machine = this_machine("trt")
    if not (machine.gpu and machine.version and machine.gpu.compute_capability in target.architectures):
        return [], [f"no engine: {TITLES['trt']} builds it on the device, where --rebuild does"]
    if not target.takes_tensorrt(machine.version):
        return [], [f"no engine: this is {TITLES['trt']} {machine.version}, the target has {target.tensorrt[0]}"]
    return [build(onnx_path, "trt", precision, machine.gpu.compute_capability)], []


def build(
    onnx_path: Path,
    flavour: str,
    precision: str,
    compute_capability: str = PORTABLE,
    out: Path | None = None,
) -> Engine:
    """Build an engine for batches of 1 to 16 windows, with a progress bar on a terminal.

    Types are the graph's own: a cast or Q/DQ in it decides, no flag.

    Args:
        onnx_path: what to build it from.
        flavour: rtx or trt.
        precision: of the ONNX file, for the fingerprint.
        compute_capability: of the GPU that will run it: for rtx PORTABLE or TURING; for trt this machine's.
        out: the file to write; None: beside the ONNX file, by `engine_name`.

    Raises:
        ExportError: TensorRT does not parse the graph, or cannot build it here.
        MissingDependencyError: TensorRT is not installed.
    """
    engine, fingerprint = _built(onnx_path, onnx_path.read_bytes(), flavour, precision, compute_capability)
    path = out or onnx_path.with_name(engine_name(onnx_path.name, flavour, compute_capability))
    write_bytes(path, engine)
    return Engine(path, fingerprint)


def _built(
    onnx_path: Path, content: bytes, flavour: str, precision: str, compute_capability: str
) -> tuple[bytes, Fingerprint]:
    """Build an engine of the content of an ONNX file, as `build` does, without writing it."""
    tensorrt = find_tensorrt(flavour)
    gpu = compatibility.find_gpu()
    fingerprint = Fingerprint(
        flavour=flavour,
        version=tensorrt.__version__,
        compute_capability=compute_capability,
        driver=gpu.driver if gpu else "",
        precision=precision,
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        system=system(),
    )
    progress = BuildProgress(f"build {onnx_path.name} for {TITLES[flavour]}")
    with freeing.alone(), progress, freeing.nothing_in_tracebacks():
        return serialize(tensorrt, content, onnx_path, fingerprint, gpu, progress), fingerprint


def serialize(
    tensorrt: Any,
    content: bytes,
    onnx_path: Path,
    fingerprint: Fingerprint,
    gpu: Gpu | None,
    progress: BuildProgress,
) -> bytes:
    """Build the engine of an ONNX file.

    Args:
        tensorrt: the module of the fingerprint's flavour.
        content: of the ONNX file.
        onnx_path: its name, for messages.
        fingerprint: of the engine.
        gpu: this machine's, whose memory limits the workspace.
        progress: shows the phases, and may stop them.

    Returns:
        The engine.

    Raises:
        ExportError: TensorRT does not parse the graph, or cannot build it here.
    """
    messages: list[str] = []
    logger = make_logger(tensorrt, messages)
    title = f"{TITLES[fingerprint.flavour]} {fingerprint.version}"
    builder = _or_refuse(
        lambda: tensorrt.Builder(logger), f"{title}: no builder could be made on this machine", messages
    )
    network = builder.create_network(_network_flags(tensorrt))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(content):
        errors = [one_line(Exception(parser.get_error(i).desc())) for i in range(parser.num_errors)]
        raise ExportError(f"{title} does not parse {onnx_path}: {'; '.join(errors)}")
    if network.num_inputs != 1:  # an empty file parses, and so does some garbage
        raise ExportError(f"{title}: {onnx_path} holds no graph with one input; is it cut short?")
    config = _config(tensorrt, builder, network.get_input(0), fingerprint, gpu)
    timing = _timing_cache(config, fingerprint)
    progress.attach(tensorrt, config)
    failed = f"{title}: {onnx_path} could not be built"
    engine = _or_refuse(lambda: builder.build_serialized_network(network, config), failed, messages)
    if timing:
        with _going_on_without():
            write_bytes(timing, bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def _network_flags(tensorrt: Any) -> int:
    # 11.x is always strongly typed; before it, the flag asks for the same.
    strongly_typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strongly_typed is None else 1 << int(strongly_typed)


def _config(tensorrt: Any, builder: Any, graph_input: Any, fingerprint: Fingerprint, gpu: Gpu | None) -> Any:
    config = builder.create_builder_config()
    # On by default, it rounds the factors of an fp32 convolution to 11 bits: not what was checked.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    limit = min(_WORKSPACE, gpu.memory // 4) if gpu else _WORKSPACE
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, limit)
    if fingerprint.flavour == "rtx" and fingerprint.compute_capability != PORTABLE:
        config.num_compute_capabilities = 1
        name = f"SM{fingerprint.compute_capability.replace('.', '')}"
        config.set_compute_capability(getattr(tensorrt.ComputeCapability, name), 0)
    for sizes in PROFILES:
        profile = builder.create_optimization_profile()
        profile.set_shape(graph_input.name, *((size, graph_input.shape[1]) for size in sizes))
        config.add_optimization_profile(profile)
    return config


def _timing_cache(config: Any, fingerprint: Fingerprint) -> Path | None:
    """Return the file of the timing cache that a build reads and leaves; classic TensorRT only.

    TensorRT for RTX measures nothing when it builds; with a timing cache it would look for a GPU (its release
    notes: that prevents builds without one, and has no effect on the engine).
    """
    if fingerprint.flavour == "rtx":
        return None
    file = folder() / f"{replace(fingerprint, precision='', onnx_sha256='').digest()}.timing"
    try:
        known = read_at_most(file, MOST_BYTES)
    except (OSError, ValueError):
        known = b""
    cache = config.create_timing_cache(known)
    if cache is None:  # damaged
        cache = config.create_timing_cache(b"")
    config.set_timing_cache(cache, False)
    return file


def _or_refuse(make: Callable[[], Any], what: str, messages: list[str]) -> Any:
    """Call `make`; where it gives nothing, TensorRT says why in its log only."""
    try:
        result = make()
    except (RuntimeError, TypeError) as error:
        messages.append(str(error))
        result = None
    if result is None:
        raise ExportError(f"{what}: {last_words(messages)}")
    return result


def last_words(messages: list[str]) -> str:
    """Return the reason in TensorRT's last message, without its codes and places in its source."""
    if not messages:
        return "no reason given"
    text = one_line(Exception(messages[-1]), 1000)
    text = re.sub(r"^.*?Error Code \d+: (\w+ \(\[.*?\] )?", "", text)
    return one_line(Exception(re.sub(r"\.? In \w+ at /.*$", "", text)), 300)


def make_logger(tensorrt: Any, messages: list[str]) -> Any:
    """Return a logger that keeps errors for our own message instead of printing them."""

    class Logger(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                messages.append(message)

    return Logger()


def folder() -> Path:
    """Name the folder where engines built on this machine are kept: in $FDAN_EDGE_CACHE, or beside features."""
    return Path(os.environ.get("FDAN_EDGE_CACHE") or cache_home()) / "engines"


def fingerprint_for(machine: Machine, precision: str, onnx_sha256: str) -> Fingerprint:
    """Return what an engine that is built for a machine would be like."""
    capability = machine.gpu.compute_capability if machine.gpu else ""
    if machine.flavour == "rtx" and capability != TURING:
        capability = PORTABLE
    driver = machine.gpu.driver if machine.gpu else ""
    return Fingerprint(
        machine.flavour, machine.version, capability, driver, precision, onnx_sha256, machine.system
    )


def cached_path(fingerprint: Fingerprint) -> Path:
    """Return file of a kept engine; what is beside it differs in its suffix."""
    return folder() / f"{fingerprint.onnx_sha256[:16]}-{fingerprint.digest()}.engine"


def cached(fingerprint: Fingerprint, *, of_today: bool = False) -> bytes | None:
    """Read the engine that was built here for a fingerprint; None where there is none, or it was changed.

    Args:
        fingerprint: what it must be made with and for.
        of_today: whether its profiles must be those that engines are built with now.
    """
    path = cached_path(fingerprint)
    try:
        entry = read_json(path.with_suffix(".json"))
        content = read_at_most(path, MOST_BYTES)
        same = from_json(Fingerprint, entry["fingerprint"]).digest() == fingerprint.digest()
        whole = entry["sha256"] == hashlib.sha256(content).hexdigest()
        same = same and (not of_today or entry.get("profiles") == to_json(PROFILES))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if same and whole else None


def build_cached(
    onnx_path: Path, machine: Machine, precision: str, onnx: bytes | None = None, *, rebuild: bool = False
) -> tuple[bytes, Engine]:
    """Return the engine of an ONNX file for this machine: the one that is kept, else a new one, which is kept.

    Where it cannot be kept, the next process builds it again, and a warning says so.

    Args:
        onnx_path: the file.
        machine: that runs it.
        precision: of the file.
        onnx: what it holds, where it was read before.
        rebuild: whether one that was built with other profiles, by an earlier version, is built anew.

    Raises:
        BundleError: the file is more than a model, see `onnx_check`.
        ExportError: TensorRT does not take the graph.
        MissingDependencyError: TensorRT is not installed.
    """
    if onnx is None:
        onnx = read_model(onnx_path)
    fingerprint = fingerprint_for(machine, precision, hashlib.sha256(onnx).hexdigest())
    path = cached_path(fingerprint)
    content = cached(fingerprint, of_today=rebuild)
    if content is None:
        check_model(onnx, onnx_path)
        content, _ = _built(onnx_path, onnx, machine.flavour, precision, fingerprint.compute_capability)
        digest = hashlib.sha256(content).hexdigest()
        entry = {"fingerprint": to_json(fingerprint), "sha256": digest, "profiles": to_json(PROFILES)}
        with _going_on_without():
            path.with_suffix(".json").unlink(missing_ok=True)  # first: it would vouch for what is not there yet
            write_bytes(path, content)
            write_json(path.with_suffix(".json"), entry)
    return content, Engine(path, fingerprint)


@contextlib.contextmanager
def _going_on_without() -> Iterator[None]:
    """Go on without what cannot be kept, where the disk is full, read-only or the like."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or one_line(error)
        warn_once(f"{folder()}: engines cannot be kept: {reason}; built again next time")
