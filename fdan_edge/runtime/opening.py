"""Opens a bundle, an .onnx file or a run folder as a runner. Imports no torch.

A run folder goes to PyTorch. Of a bundle or a file, `runtime_choice` names the runtimes to try and the file that
each takes. The first that starts is the runner.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

import numpy as np

from fdan_edge.errors import (
    INSTALL_TRAINING,
    BundleError,
    ConfigError,
    FdanEdgeError,
    MissingDependencyError,
    unknown_choice,
)
from fdan_edge.runtime.manifest import Artifact, EngineFile
from fdan_edge.runtime.onnx import OnnxRunner, OnnxSession
from fdan_edge.runtime.onnx_features import OnnxFeatureRunner
from fdan_edge.runtime.onnx_stream import OnnxFrameRunner
from fdan_edge.runtime.runner import FeatureRunner, Runner
from fdan_edge.runtime.runtime_choice import (
    DEPLOYED,
    FLAVOURS,
    PROVIDERS,
    RUNTIMES,
    TORCH,
    UnfitError,
    by_fitness,
    candidates,
    find_engine,
    why_not,
)
from fdan_edge.runtime.source import Source
from fdan_edge.runtime.tensorrt import compatibility

log = logging.getLogger(__name__)

#: Openers above this layer, "module:function": imported when first asked for, so that devices need no PyTorch.
_OPENERS = {"torch": "fdan_edge.runs.torch_runner:open_run"}

#: The largest number of threads, as on the command line.
MOST_THREADS = 1024

_Session = TypeVar("_Session", bound=OnnxSession)


@dataclass(frozen=True)
class Variant:
    """One way to run a model on this machine."""

    target: str  # as given: a bundle, an .onnx file or a run folder
    artifact: str  # name of the ONNX file; "" for a run folder
    precision: str  # fp32, fp16 or int8; "" where a file does not say
    runtime: str  # of RUNTIMES

    def open(self, threads: int = 0) -> Runner:
        """Open a runner for exactly this.

        Raises:
            BundleError, MissingDependencyError: as of `open_runner`.
        """
        return open_runner(self.target, threads, artifact=self.wish, runtime=self.runtime)

    @property
    def wish(self) -> str | None:
        """What `open_runner` takes for `artifact`: a run folder has no files, but precisions."""
        return self.artifact or (self.precision if self.runtime in TORCH else None)


@dataclass(frozen=True)
class _Wish(Generic[_Session]):
    """What an opening was asked for."""

    threads: int
    artifact: str | None
    runtime: str | None
    rebuild: bool
    #: Opens an artifact of a source in ONNX Runtime, with these providers and threads.
    open_onnx: Callable[[Source, Artifact, tuple[str, ...], int], _Session]
    engines: bool = True  # whether one of TensorRT serves


def open_runner(
    target: str | os.PathLike[str],
    threads: int = 0,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    rebuild: bool = False,
) -> Runner:
    """Open a runner for a bundle, an .onnx file or a run folder (the last needs PyTorch).

    Without a wish the first runtime that can run it here is taken: TensorRT where an engine fits, else ONNX
    Runtime on CUDA, else on the CPU. A runtime that the bundle was made for and that cannot be taken is logged,
    with level DEBUG where this machine has no GPU.

    Args:
        target: what to run.
        threads: of the CPU's runtimes; 0: all cores.
        artifact: the bundle's file to run, or a precision, of which the runtime takes the file that fits it; of a
            run folder a precision that PyTorch has there; None: what fits the runtime.
        runtime: one of RUNTIMES, and no other; None: the first that can.
        rebuild: where no TensorRT engine fits, or the one that is kept here was built for other batches, build one
            from the ONNX file and keep it; takes minutes.

    Raises:
        BundleError: the target is none of these, or damaged; or the wished runtime cannot run it here.
        ConfigError: there is no such runtime, or that is no number of threads.
        MissingDependencyError: what it needs is not installed.
    """
    return _open(Path(target), _Wish(threads, artifact, runtime, rebuild, _whole_model))


def open_feature_runner(
    target: str | os.PathLike[str],
    threads: int = 0,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
) -> FeatureRunner:
    """Open a runner that gives the features before the classifier, too; arguments and errors as of `open_runner`.

    A run folder's is PyTorch, of all else it is ONNX Runtime: an engine of TensorRT keeps its features to itself.

    Raises:
        BundleError: the wished runtime is TensorRT.
        MissingDependencyError: the package onnx, which finds them in a graph, is not installed.
    """
    if runtime in FLAVOURS:
        valid = ", ".join([*PROVIDERS, f"of a run folder {', '.join(TORCH)}"])
        raise BundleError(f"{target}: {runtime} gives no embeddings, an engine has no such output; valid: {valid}")
    runner = _open(Path(target), _Wish(threads, artifact, runtime, False, _with_features, engines=False))
    return cast(FeatureRunner, runner)  # PyTorch's runner is one, and there is no engine


def open_stream_runner(
    target: str | os.PathLike[str],
    threads: int = 0,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    rebuild: bool = False,
) -> Runner | OnnxFrameRunner:
    """Open a runner for live streams; arguments and errors as of `open_runner`.

    Where ONNX Runtime runs an artifact of which the bundle has a graph that begins after the mel filterbank, that
    graph is opened. A file of such a graph may be the target too.
    """
    return _open(Path(target), _Wish(threads, artifact, runtime, rebuild, _after_mel))


def variants(target: str | os.PathLike[str]) -> list[Variant]:
    """List every way to run a bundle, an .onnx file or a run folder on this machine, without building anything.

    Raises:
        BundleError: the target is none of these, or damaged.
    """
    path = Path(target)
    if _is_run(path):
        names = TORCH if compatibility.find_gpu() else ("torch",)
        return [Variant(str(target), "", precision, name) for name in names for precision in TORCH[name]]
    source = Source.open(path)
    return [
        Variant(str(target), artifact.file, artifact.precision, runtime)
        for artifact in source.artifacts
        for runtime in DEPLOYED
        if why_not(source.only(artifact.file), runtime) is None
    ]


def _open(path: Path, wish: _Wish[_Session]) -> Runner | _Session:
    if wish.runtime not in (None, *RUNTIMES):
        raise ConfigError(unknown_choice("runtime", str(wish.runtime), RUNTIMES))
    if not isinstance(wish.threads, (int, np.integer)) or not 0 <= wish.threads <= MOST_THREADS:
        raise ConfigError(f"threads = {wish.threads!r}: valid are 0 (all cores) to {MOST_THREADS}")
    if _is_run(path):
        return _open_run(path, wish.threads, wish.artifact, wish.runtime)
    if wish.runtime in TORCH:
        raise BundleError(f"{path}: PyTorch runs run folders only; runtimes: {', '.join(DEPLOYED)}")
    source = Source.open(path).only(wish.artifact) if wish.artifact else Source.open(path)
    runtimes = (wish.runtime,) if wish.runtime else candidates(source, rebuild=wish.rebuild)
    if not wish.engines:
        runtimes = tuple(name for name in runtimes if name not in FLAVOURS)
    return _open_first(source, runtimes, wish)


def _open_first(source: Source, runtimes: tuple[str, ...], wish: _Wish[_Session]) -> Runner | _Session:
    """Open the first runtime that can; log why those before it cannot."""
    for runtime in runtimes:
        try:
            return _open_with(source, runtime, wish)
        except UnfitError as reason:
            if runtime == runtimes[-1]:
                raise BundleError(f"{source.path}: {runtime} cannot run it here: {reason}") from None
            # Of a machine without a GPU it would be the same line at every call.
            level = logging.INFO if wish.rebuild or compatibility.find_gpu() else logging.DEBUG
            log.log(level, "%s: not run by %s: %s", source.path, runtime, reason)
    raise AssertionError("no runtime")


def _open_with(source: Source, runtime: str, wish: _Wish[_Session]) -> Runner | _Session:
    if runtime in FLAVOURS:
        return _open_tensorrt(source, FLAVOURS[runtime], rebuild=wish.rebuild)
    if runtime == "onnxruntime-cuda" and (reason := why_not(source, runtime)):
        raise UnfitError(reason)
    providers = PROVIDERS[runtime]
    runner = wish.open_onnx(source, by_fitness(source.artifacts, runtime)[0], providers, wish.threads)
    if runner.provider != providers[0]:  # ONNX Runtime falls back to the CPU without a word
        runner.__exit__(None, None, None)
        raise UnfitError("ONNX Runtime could not start CUDA; do its CUDA and cuDNN fit this driver?")
    return runner


def _whole_model(source: Source, artifact: Artifact, providers: tuple[str, ...], threads: int) -> OnnxRunner:
    content = source.read(artifact.file)
    return OnnxRunner(source.file(artifact.file), providers, threads, artifact.precision, content)


def _with_features(
    source: Source, artifact: Artifact, providers: tuple[str, ...], threads: int
) -> OnnxFeatureRunner:
    content = source.read(artifact.file)
    return OnnxFeatureRunner(source.file(artifact.file), providers, threads, artifact.precision, content)


def _after_mel(
    source: Source, artifact: Artifact, providers: tuple[str, ...], threads: int
) -> OnnxRunner | OnnxFrameRunner:
    if artifact.stream is None:
        return _whole_model(source, artifact, providers, threads)
    content = source.read(artifact.stream)
    return OnnxFrameRunner(source.file(artifact.stream), providers, threads, artifact.precision, content)


def _open_tensorrt(source: Source, flavour: str, *, rebuild: bool) -> Runner:
    from fdan_edge.runtime.tensorrt import engines

    choice = find_engine(source, flavour, rebuild=rebuild)
    assert source.bundle is not None  # or there is no engine
    spec = source.bundle.manifest.spec
    try:
        from fdan_edge.runtime.tensorrt.runner import TensorRtRunner

        if isinstance(choice, EngineFile):
            content, fingerprint, path = (
                source.bundle.read(choice.file),
                choice.fingerprint,
                source.path / choice.file,
            )
        else:
            machine = compatibility.this_machine(flavour)
            path = source.file(choice.file)
            onnx = source.read(choice.file)
            content, engine = engines.build_cached(path, machine, choice.precision, onnx, rebuild=rebuild)
            fingerprint, path = engine.fingerprint, engine.path
        jit_cache = engines.cached_path(fingerprint).with_suffix(".jit")
        return TensorRtRunner(content, fingerprint, spec, path, jit_cache)
    except BundleError:  # changed or cut short: refused, whatever else could run
        raise
    except FdanEdgeError as error:
        raise UnfitError(str(error)) from None


def _is_run(path: Path) -> bool:
    return (path / "run.toml").is_file()


def _open_run(path: Path, threads: int, precision: str | None, runtime: str | None) -> Runner:
    runtime = runtime or "torch"
    if runtime not in TORCH or (precision and precision not in TORCH[runtime]):
        valid = ", ".join(f"{name} ({' or '.join(precisions)})" for name, precisions in TORCH.items())
        raise BundleError(
            f"{path}: is a run folder, which {runtime} does not run{f' in {precision}' if precision else ''}; "
            f"valid: {valid}; `fdan-edge export` makes a bundle for other runtimes"
        )
    module, _, name = _OPENERS["torch"].partition(":")
    try:
        opener: Callable[[Path, int, str, str | None], Runner] = getattr(importlib.import_module(module), name)
        return opener(path, threads, runtime, precision)
    except ImportError as error:
        raise MissingDependencyError(error.name or "torch", f"the run {path}", INSTALL_TRAINING) from None
