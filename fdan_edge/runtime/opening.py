"""Which runtime runs a bundle, an .onnx file or a run folder on this machine. Imports no torch."""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from fdan_edge.errors import (
    INSTALL_TRAINING,
    BundleError,
    ConfigError,
    FdanEdgeError,
    MissingDependencyError,
    choose,
)
from fdan_edge.runtime import bundle
from fdan_edge.runtime.bundle import STREAM_SUFFIX, Artifact, EngineFile
from fdan_edge.runtime.deploy_targets import TARGETS, U8S8
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.onnx import CPU, CUDA, OnnxRunner, OnnxSession, import_onnxruntime
from fdan_edge.runtime.onnx_stream import OnnxFrameRunner
from fdan_edge.runtime.runner import Probabilities, Runner, checked_windows
from fdan_edge.runtime.tensorrt.compatibility import MODULES, TITLES, find_gpu, here, lacks, misfit

log = logging.getLogger(__name__)

__all__ = [
    "RUNTIMES",
    "OnnxFrameRunner",
    "OnnxRunner",
    "Probabilities",
    "Runner",
    "Variant",
    "checked_windows",
    "open_runner",
    "open_stream_runner",
    "variants",
    "why_not",
]

#: Of bundles and files, the preferred first.
_DEPLOYED = ("tensorrt-rtx", "tensorrt", "onnxruntime-cuda", "onnxruntime-cpu")
#: Of run folders: eager on the CPU unless another one is asked for. For comparison on a GPU, fp16 by autocast.
_TORCH = {"torch": ("fp32",), "torch-cuda": ("fp32", "fp16"), "torch-compile": ("fp32", "fp16")}
RUNTIMES = (*_DEPLOYED, *_TORCH)
#: Openers above this layer, "module:function": imported when first asked for, so that devices need no PyTorch.
_OPENERS = {"torch": "fdan_edge.runs.torch_runner:open_run"}
_FLAVOURS = {"tensorrt-rtx": "rtx", "tensorrt": "trt"}
_PROVIDERS = {"onnxruntime-cuda": (CUDA, CPU), "onnxruntime-cpu": (CPU,)}


_Session = TypeVar("_Session", bound=OnnxSession)
#: What opens one of a source's artifacts: with which providers, with how many threads.
_OpenOnnx: TypeAlias = Callable[["_Source", Artifact, tuple[str, ...], int], _Session]


class _UnfitError(Exception):
    """Why a runtime cannot run something here: one line."""


@dataclass(frozen=True)
class Variant:
    """One way to run a model on this machine."""

    target: str  # as given: a bundle, an .onnx file or a run folder
    artifact: str  # name of the ONNX file; "" for a run folder
    precision: str  # fp32, fp16 or int8; "" where a file does not say
    runtime: str  # of RUNTIMES

    def open(self, threads: int = 0) -> Runner:
        """A runner for exactly this.

        Raises:
            BundleError, MissingDependencyError: as of `open_runner`.
        """
        return open_runner(self.target, threads, artifact=self.wish, runtime=self.runtime)

    @property
    def wish(self) -> str | None:
        """What `open_runner` takes for `artifact`: a run folder has no files, but precisions."""
        return self.artifact or (self.precision if self.runtime in _TORCH else None)


@dataclass(frozen=True)
class _Source:
    """What there is to run: a bundle, or one .onnx file, which is like a bundle of one artifact."""

    path: Path
    artifacts: tuple[Artifact, ...]
    engines: tuple[EngineFile, ...]
    manifest: dict[str, Any] | None

    def file(self, name: str) -> Path:
        """One of its ONNX files, the hash checked where there is a manifest."""
        return bundle.checked_file(self.path, name) if self.manifest else self.path

    def spec(self) -> ModelSpec:
        """The spec of a bundle."""
        assert self.manifest is not None
        return ModelSpec.from_json(json.dumps(self.manifest.get("spec")), f"{self.path / bundle.MANIFEST}")

    def only(self, name: str) -> _Source:
        """The same with the artifacts of a file name or a precision only, and their engines."""
        if not self.manifest:
            if name not in (self.path.name, ""):
                raise BundleError(f"{self.path}: is one file, so there is no artifact {name!r} to choose")
            return self
        found = tuple(bundle.find_artifacts(self.path, self.manifest, name))
        files = [artifact.file for artifact in found]
        return replace(self, artifacts=found, engines=tuple(e for e in self.engines if e.artifact in files))


def open_runner(
    target: str | os.PathLike[str],
    threads: int = 0,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    rebuild: bool = False,
) -> Runner:
    """A runner for a bundle, an .onnx file or a run folder (the last needs PyTorch).

    Without a wish the first runtime that can run it here is taken: TensorRT where an engine fits, else ONNX
    Runtime on CUDA, else on the CPU. A runtime that the bundle was made for and that cannot be taken is said.

    Args:
        target: what to run.
        threads: of the CPU's runtimes; 0: all cores.
        artifact: the bundle's file to run, or a precision, of which the runtime takes the file that fits it; of a
            run folder a precision that PyTorch has there; None: what fits the runtime.
        runtime: one of RUNTIMES, and no other; None: the first that can.
        rebuild: where no TensorRT engine fits, build one from the ONNX file and keep it; takes minutes.

    Raises:
        BundleError: the target is none of these, or damaged; or the wished runtime cannot run it here.
        ConfigError: there is no such runtime.
        MissingDependencyError: what it needs is not installed.
    """
    return _open_target(Path(target), threads, artifact, runtime, rebuild, _whole)


def open_stream_runner(
    target: str | os.PathLike[str],
    threads: int = 0,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    rebuild: bool = False,
) -> Runner | OnnxFrameRunner:
    """As `open_runner`, for live streams: where ONNX Runtime runs an artifact of which the bundle has a graph that
    begins after the mel filterbank, that graph. A file of such a graph may be the target too.
    """
    return _open_target(Path(target), threads, artifact, runtime, rebuild, _from_power)


def _whole(source: _Source, artifact: Artifact, providers: tuple[str, ...], threads: int) -> OnnxRunner:
    return OnnxRunner(source.file(artifact.file), providers, threads, artifact.precision)


def _from_power(
    source: _Source, artifact: Artifact, providers: tuple[str, ...], threads: int
) -> OnnxRunner | OnnxFrameRunner:
    if artifact.stream is None:
        return _whole(source, artifact, providers, threads)
    return OnnxFrameRunner(source.file(artifact.stream), providers, threads, artifact.precision)


def _open_target(
    path: Path,
    threads: int,
    artifact: str | None,
    runtime: str | None,
    rebuild: bool,
    onnx: _OpenOnnx[_Session],
) -> Runner | _Session:
    if runtime not in (None, *RUNTIMES):
        raise ConfigError(choose("runtime", str(runtime), RUNTIMES))
    if (path / "run.toml").is_file():
        return _open_run(path, threads, artifact, runtime)
    if runtime in _TORCH:
        raise BundleError(f"{path}: PyTorch runs run folders only; runtimes: {', '.join(_DEPLOYED)}")
    source = _source(path).only(artifact) if artifact else _source(path)
    runtimes = (runtime,) if runtime else _candidates(source, rebuild)
    return _open_first(source, runtimes, threads, rebuild, onnx)


def variants(target: str | os.PathLike[str]) -> list[Variant]:
    """Every way to run a bundle, an .onnx file or a run folder on this machine, without building anything.

    Raises:
        BundleError: the target is none of these, or damaged.
    """
    path = Path(target)
    if (path / "run.toml").is_file():
        names = _TORCH if find_gpu() else ("torch",)
        return [Variant(str(target), "", precision, name) for name in names for precision in _TORCH[name]]
    whole = _source(path)
    return [
        Variant(str(target), artifact.file, artifact.precision, runtime)
        for artifact in whole.artifacts
        for runtime in _DEPLOYED
        if _why_not(whole.only(artifact.file), runtime) is None
    ]


def why_not(target: str | os.PathLike[str], runtime: str) -> str | None:
    """One line that says why a runtime cannot run a bundle or an .onnx file here; None where it can.

    Raises:
        BundleError: the target is neither, or damaged.
    """
    return _why_not(_source(Path(target)), runtime)


def _source(path: Path) -> _Source:
    if path.suffix == ".engine":
        raise BundleError(f"{path}: an engine runs as a part of its bundle only; name the folder {path.parent}")
    if path.is_dir():
        manifest = bundle.read_manifest(path)
        return _Source(path, tuple(bundle.artifacts(manifest)), tuple(bundle.engines(manifest)), manifest)
    stream = path.name if path.name.endswith(STREAM_SUFFIX) else None
    return _Source(bundle.model_path(path), (Artifact(path.name, "", None, (), 0, stream=stream),), (), None)


def _open_first(
    source: _Source, runtimes: tuple[str, ...], threads: int, rebuild: bool, onnx: _OpenOnnx[_Session]
) -> Runner | _Session:
    """The first runtime that can; those before it say why they cannot."""
    for runtime in runtimes:
        try:
            return _open(source, runtime, threads, rebuild, onnx)
        except _UnfitError as reason:
            if runtime == runtimes[-1]:
                raise BundleError(f"{source.path}: {runtime} cannot run it here: {reason}") from None

            log.warning(f"{source.path}: not run by {runtime}: {reason}")
    raise AssertionError("no runtime")


def _candidates(source: _Source, rebuild: bool) -> tuple[str, ...]:
    """Runtimes to try: what the bundle was made for, CUDA where ONNX Runtime has it, and the CPU in any case.

    With `rebuild` also each flavour of TensorRT that is installed.
    """
    made_for = {TARGETS[name].runtime for a in source.artifacts for name in a.targets if name in TARGETS}
    flavours = {engine.fingerprint.flavour for engine in source.engines}
    flavours |= {flavour for flavour in _FLAVOURS.values() if rebuild and find_spec(MODULES[flavour])}
    made_for |= {runtime for runtime, flavour in _FLAVOURS.items() if flavour in flavours}
    if _why_not(source, "onnxruntime-cuda") is None:
        made_for.add("onnxruntime-cuda")
    return tuple(runtime for runtime in _DEPLOYED if runtime in made_for | {"onnxruntime-cpu"})


def _why_not(source: _Source, runtime: str) -> str | None:
    """Why a runtime cannot run a source here and now; None where it can."""
    if runtime in _FLAVOURS:
        try:
            _find_engine(source, _FLAVOURS[runtime], rebuild=False)
        except _UnfitError as reason:
            return str(reason)
        return None
    if not find_spec("onnxruntime"):
        return "needs ONNX Runtime, which is not installed"
    if runtime == "onnxruntime-cuda":
        if not find_gpu():
            return "needs an NVIDIA GPU and its driver, and finds none"
        if CUDA not in import_onnxruntime().get_available_providers():
            return "needs an ONNX Runtime with CUDA: pip install onnxruntime-gpu"
        if not _fitting(source.artifacts, runtime):
            return f"int8 that was made for {_made_for(source.artifacts)} is slow there, and was not checked there"
    return None


def _made_for(artifacts: tuple[Artifact, ...]) -> str:
    """Targets of all artifacts, for messages."""
    return ", ".join(dict.fromkeys(name for artifact in artifacts for name in artifact.targets)) or "no target"


def _open(
    source: _Source, runtime: str, threads: int, rebuild: bool, onnx: _OpenOnnx[_Session]
) -> Runner | _Session:
    if runtime in _FLAVOURS:
        return _open_tensorrt(source, _FLAVOURS[runtime], rebuild)
    if runtime == "onnxruntime-cuda" and (reason := _why_not(source, runtime)):
        raise _UnfitError(reason)
    runner = onnx(source, _fitting(source.artifacts, runtime)[0], _PROVIDERS[runtime], threads)
    if runner.provider != _PROVIDERS[runtime][0]:  # ONNX Runtime falls back to the CPU without a word
        runner.__exit__(None, None, None)
        raise _UnfitError("ONNX Runtime could not start CUDA; do its CUDA and cuDNN fit this driver?")
    return runner


def _fitting(artifacts: tuple[Artifact, ...], runtime: str) -> list[Artifact]:
    """Artifacts that a runtime of ONNX Runtime takes, the best first: made for it, else fp32, else others.

    CUDA takes int8 only where that was made for it; a CPU takes all, and its own int8 before that for TensorRT.
    """
    target = "cuda" if runtime == "onnxruntime-cuda" else "cpu"
    made_for = [artifact for artifact in artifacts if target in artifact.targets]
    others = [a for a in artifacts if target == "cpu" or a.precision != "int8"]
    others.sort(key=lambda a: (a.precision != "fp32", a.format not in (None, TARGETS[target].int8)))
    return [*made_for, *others]


def _find_engine(source: _Source, flavour: str, *, rebuild: bool) -> EngineFile | Artifact:
    """An engine of the bundle that fits, else an artifact whose engine is kept from before or is to be built."""
    from fdan_edge.runtime.tensorrt import engines

    if not source.manifest:
        raise _UnfitError("it runs the engines of a bundle; name the bundle's folder")
    machine = here(flavour)
    if reason := lacks(machine):
        raise _UnfitError(reason)
    if not find_spec("pycuda"):
        raise _UnfitError("needs pycuda, which is not installed: pip install pycuda")
    reasons = []
    for engine in source.engines:
        if engine.fingerprint.flavour == flavour:
            reason = misfit(engine.fingerprint, machine)
            if reason is None:
                return engine
            reasons.append(f"{engine.file} {reason}")
    artifact = _to_build_from(source.artifacts, flavour)
    fitting = engines.wanted(machine, artifact.precision, source.manifest["files"][artifact.file]["sha256"])
    if reason := misfit(fitting, machine):
        raise _UnfitError("; ".join(reasons) or reason)
    if rebuild or engines.kept(fitting):
        return artifact
    raise _UnfitError(
        f"{'; '.join(reasons) or f'no engine of {TITLES[flavour]} in it'}; --rebuild builds one here"
    )


def _to_build_from(artifacts: tuple[Artifact, ...], flavour: str) -> Artifact:
    """The first artifact that was made for a flavour of TensorRT, else fp32, else what TensorRT parses."""
    fitting = (name for name, target in TARGETS.items() if target.engine == flavour)
    made_for = [artifact for name in fitting for artifact in artifacts if name in artifact.targets]
    parsed = [artifact for artifact in artifacts if artifact.format != U8S8]
    parsed.sort(key=lambda artifact: artifact.precision != "fp32")
    if not made_for and not parsed:
        raise _UnfitError(f"it does not take int8 in the format {U8S8}, which is for CPUs")
    return [*made_for, *parsed][0]


def _open_tensorrt(source: _Source, flavour: str, rebuild: bool) -> Runner:
    found = _find_engine(source, flavour, rebuild=rebuild)
    try:
        from fdan_edge.runtime.tensorrt import engines
        from fdan_edge.runtime.tensorrt.runner import TensorRtRunner

        if isinstance(found, EngineFile):
            content = bundle.checked_bytes(source.path, found.file)
            kept = engines.kept_path(found.fingerprint).with_suffix(".jit")
            return TensorRtRunner(content, found.fingerprint, source.spec(), source.path / found.file, kept)
        content, built = engines.rebuilt(source.file(found.file), here(flavour), found.precision)
        kept = built.path.with_suffix(".jit")
        return TensorRtRunner(content, built.fingerprint, source.spec(), built.path, kept)
    except BundleError:  # changed or cut short: refused, whatever else could run
        raise
    except FdanEdgeError as error:
        raise _UnfitError(str(error)) from None


def _open_run(path: Path, threads: int, precision: str | None, runtime: str | None) -> Runner:
    runtime = runtime or "torch"
    if runtime not in _TORCH or (precision and precision not in _TORCH[runtime]):
        valid = ", ".join(f"{name} ({' or '.join(of)})" for name, of in _TORCH.items())
        raise BundleError(
            f"{path}: is a run folder, which {runtime} does not run{f' in {precision}' if precision else ''}; "
            f"valid: {valid}; `fdan-edge export` makes a bundle for other runtimes"
        )
    module, _, name = _OPENERS["torch"].partition(":")
    try:
        opener: Callable[[Path, int, str, str | None], Runner] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingDependencyError(error.name or "torch", f"the run {path}", INSTALL_TRAINING) from None
    return opener(path, threads, runtime, precision)
