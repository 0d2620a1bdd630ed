"""Which runtimes can run a source on this machine, and which of its files each takes. Imports no torch."""

from __future__ import annotations

from importlib.util import find_spec

from fdan_edge.runtime.deploy_targets import TARGETS, U8S8, known_targets
from fdan_edge.runtime.manifest import Artifact, EngineFile
from fdan_edge.runtime.onnx_session import CPU, CUDA, import_onnxruntime
from fdan_edge.runtime.source import Source
from fdan_edge.runtime.tensorrt import compatibility
from fdan_edge.runtime.tensorrt.compatibility import MODULES, TITLES, lacks, misfit, this_machine

#: Flavours of TensorRT, by runtime.
FLAVOURS = {"tensorrt-rtx": "rtx", "tensorrt": "trt"}
#: Execution providers of ONNX Runtime, by runtime.
PROVIDERS = {"onnxruntime-cuda": (CUDA, CPU), "onnxruntime-cpu": (CPU,)}
#: Runtimes of bundles and files, the preferred first.
DEPLOYED = (*FLAVOURS, *PROVIDERS)
#: Runtimes of run folders with their precisions: eager on the CPU unless another one is asked for. Those on a GPU
#: are for comparison; fp16 is by autocast.
TORCH = {"torch": ("fp32",), "torch-cuda": ("fp32", "fp16"), "torch-compile": ("fp32", "fp16")}
RUNTIMES = (*DEPLOYED, *TORCH)


class UnfitError(Exception):
    """Why a runtime cannot run a source here: one line."""


def candidates(source: Source, *, rebuild: bool) -> tuple[str, ...]:
    """List the runtimes to try: what the source was made for, CUDA where it is there, and the CPU in any case.

    Args:
        source: a bundle or a file.
        rebuild: try each flavour of TensorRT that is installed, too.
    """
    wanted = {"onnxruntime-cpu"}
    wanted |= {target.runtime for artifact in source.artifacts for target in known_targets(artifact.targets)}
    flavours = {engine.fingerprint.flavour for engine in source.engines}
    flavours |= {flavour for flavour in FLAVOURS.values() if rebuild and find_spec(MODULES[flavour])}
    wanted |= {runtime for runtime, flavour in FLAVOURS.items() if flavour in flavours}
    if why_not(source, "onnxruntime-cuda") is None:
        wanted.add("onnxruntime-cuda")
    return tuple(runtime for runtime in DEPLOYED if runtime in wanted)


def why_not(source: Source, runtime: str) -> str | None:
    """Give one line that says why a runtime cannot run a source here and now; None where it can."""
    if runtime in FLAVOURS:
        try:
            find_engine(source, FLAVOURS[runtime], rebuild=False)
        except UnfitError as reason:
            return str(reason)
        return None
    if not find_spec("onnxruntime"):
        return "needs ONNX Runtime, which is not installed"
    if runtime == "onnxruntime-cuda":
        if not compatibility.find_gpu():
            return "needs an NVIDIA GPU and its driver, and finds none"
        if CUDA not in import_onnxruntime().get_available_providers():
            return "needs an ONNX Runtime with CUDA: pip install onnxruntime-gpu"
        if not by_fitness(source.artifacts, runtime):
            names = dict.fromkeys(name for artifact in source.artifacts for name in artifact.targets)
            targets = ", ".join(names) or "no target"
            return f"int8 that was made for {targets} is slow there, and was not checked there"
    return None


def by_fitness(artifacts: tuple[Artifact, ...], runtime: str) -> list[Artifact]:
    """List the artifacts that a runtime of ONNX Runtime takes, the best first.

    Those made for it come first, then fp32, then others. CUDA takes int8 only where that was made for it. A CPU
    takes all, and its own int8 before that for TensorRT.
    """
    formats = {target.int8 for target in TARGETS.values() if target.runtime == runtime}
    made_for_it = [a for a in artifacts if any(t.runtime == runtime for t in known_targets(a.targets))]
    others = [a for a in artifacts if runtime == "onnxruntime-cpu" or a.precision != "int8"]
    others.sort(key=lambda a: (a.precision != "fp32", a.format is not None and a.format not in formats))
    return [*made_for_it, *others]


def find_engine(source: Source, flavour: str, *, rebuild: bool) -> EngineFile | Artifact:
    """Find an engine of the bundle that fits, else the artifact whose engine is cached or is to be built.

    Args:
        source: a bundle or a file.
        flavour: rtx or trt.
        rebuild: whether an engine may be built, which takes minutes.

    Raises:
        UnfitError: there is none; the message says why.
    """
    from fdan_edge.runtime.tensorrt import engines

    if source.bundle is None:
        raise UnfitError("it runs the engines of a bundle; name the bundle's folder")
    machine = this_machine(flavour)
    if reason := lacks(machine):
        raise UnfitError(reason)
    if not find_spec("pycuda"):
        raise UnfitError("needs pycuda, which is not installed: pip install pycuda")
    reasons = []
    for engine in source.engines:
        if engine.fingerprint.flavour == flavour:
            reason = misfit(engine.fingerprint, machine)
            if reason is None:
                return engine
            reasons.append(f"{engine.file} {reason}")
    artifact = _to_build_from(source.artifacts, flavour)
    digest = source.bundle.manifest.files[artifact.file].sha256
    fingerprint = engines.fingerprint_for(machine, artifact.precision, digest)
    if reason := misfit(fingerprint, machine):
        raise UnfitError("; ".join(reasons) or reason)
    if rebuild or engines.cached(fingerprint):
        return artifact
    raise UnfitError(f"{'; '.join(reasons) or f'no engine of {TITLES[flavour]} in it'}; --rebuild builds one here")


def _to_build_from(artifacts: tuple[Artifact, ...], flavour: str) -> Artifact:
    """Choose the first artifact that was made for a flavour of TensorRT, else fp32, else what TensorRT parses."""
    fitting = [name for name, target in TARGETS.items() if target.engine == flavour]
    made_for_it = [artifact for name in fitting for artifact in artifacts if name in artifact.targets]
    parsed = [artifact for artifact in artifacts if artifact.format != U8S8]
    parsed.sort(key=lambda artifact: artifact.precision != "fp32")
    if not made_for_it and not parsed:
        raise UnfitError(f"it does not take int8 in the format {U8S8}, which is for CPUs")
    return [*made_for_it, *parsed][0]
