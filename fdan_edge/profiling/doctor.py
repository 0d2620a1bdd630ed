"""What works on this machine, found by trying it. Imports no torch of its own accord."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fdan_edge._version import __version__
from fdan_edge.errors import (
    INSTALL_SERVE,
    INSTALL_STREAM,
    INSTALL_TRAINING,
    INSTALL_VIDEO,
    MissingDependencyError,
    one_line,
)
from fdan_edge.profiling import cuda_versions
from fdan_edge.runtime.deploy_targets import TARGETS, Target
from fdan_edge.runtime.onnx_session import import_onnxruntime
from fdan_edge.utils import telemetry


@dataclass(frozen=True)
class Finding:
    """One ability: whether it is there, and how to get it where it is not."""

    ability: str
    works: bool
    detail: str  # versions, or why it does not work
    remedy: str = ""  # how to get it, where it does not work


def examine() -> list[Finding]:
    """Try every part that a command may need."""
    return [
        Finding("fdan-edge", True, f"{__version__}, {len(os.sched_getaffinity(0))} cores"),
        _try("read sound files", _sound, "pip install soundfile soxr"),
        _try("read videos", _videos, INSTALL_VIDEO),
        _try("find faces in videos", _face_detector, INSTALL_TRAINING),
        _try("run models on the CPU", _onnxruntime, "pip install onnxruntime"),
        _try("run models with CUDA", _onnxruntime_cuda, "with a GPU: pip install onnxruntime-gpu"),
        _telemetry(),
        _try("tell speech from noise", _voice_activity, INSTALL_STREAM),
        _try("hear a microphone", _microphone, "pip install sounddevice; apt install libportaudio2"),
        _try("serve a page", _server, INSTALL_SERVE),
        _try("train", _torch, INSTALL_TRAINING),
        _try("LMMD in training", _lmmd, INSTALL_TRAINING),
        _try("export to ONNX", _onnx, INSTALL_TRAINING),
        _try("TensorRT for RTX", _tensorrt_rtx, "pip install tensorrt-rtx-cu13"),
        _try("TensorRT (classic)", _tensorrt, "part of JetPack; elsewhere see NVIDIA's pages"),
        _try("NVIDIA GPU", _gpu, "only CUDA's and TensorRT's runtimes need one"),
        _try("CUDA versions fit", _cuda_versions, cuda_versions.REMEDY),
        *(
            _try(f"target {name}", functools.partial(_target, target), target.install)
            for name, target in TARGETS.items()
        ),
    ]


def _try(ability: str, probe: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(ability, True, probe())
    except Exception as error:  # whatever a broken installation raises is what the user should see
        return Finding(ability, False, one_line(error, 100), remedy)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _sound() -> str:
    soundfile, soxr = _module("soundfile"), _module("soxr")
    return f"libsndfile {soundfile.__libsndfile_version__}, soxr {soxr.__version__}"


def _videos() -> str:
    return f"PyAV {_module('av').__version__}"


def _face_detector() -> str:
    cv2, video = _module("cv2"), _module("fdan_edge.data.face_crops")
    video.find_face(_module("numpy").zeros((48, 48, 3), "uint8"))  # loads the cascade, which is a file
    return f"OpenCV {cv2.__version__}"


def _import_onnxruntime() -> Any:
    try:
        return import_onnxruntime()
    except MissingDependencyError:
        raise RuntimeError("onnxruntime is not installed") from None  # how to install it is the remedy


def _onnxruntime() -> str:
    return f"ONNX Runtime {_import_onnxruntime().__version__}"


def _onnxruntime_cuda() -> str:
    runtime = _import_onnxruntime()
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise RuntimeError(f"ONNX Runtime {runtime.__version__} is built without CUDA")
    return f"ONNX Runtime {runtime.__version__}"


def _telemetry() -> Finding:
    """Say whether ONNX Runtime reports its use to its maker; nothing else here reports anything."""
    ability, variable = "telemetry: off", telemetry.VARIABLE
    if telemetry.is_too_late():
        detail = "ONNX Runtime was imported before fdan_edge, with its telemetry on"
        return Finding(ability, False, detail, f"set {variable}=1, or import fdan_edge first")
    return Finding(ability, True, f"{variable}=1 before ONNX Runtime starts")


def _voice_activity() -> str:
    """Look for Silero; streams work without it, by level alone."""
    vad = _module("fdan_edge.streaming.vad")
    silero = vad.open_vad("auto", 16000).name == "silero"
    return "Silero VAD" if silero else f"by level alone; {vad.INSTALL_SILERO}"


def _microphone() -> str:
    sounddevice = _module("sounddevice")
    return str(sounddevice.query_devices(kind="input")["name"])


def _server() -> str:
    for name in ("prometheus_client", "websockets", "starlette"):
        _module(name)
    return f"Starlette {_module('starlette').__version__}, uvicorn {_module('uvicorn').__version__}"


def _torch() -> str:
    torch = _module("torch")
    _module("torchvision")
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    return f"PyTorch {torch.__version__} on {where}"


def _lmmd() -> str:
    """Say which LMMD a training would use, and why; it works without the compiled one."""
    native, torch = _module("fdan_edge.models.ops.native"), _module("torch")
    status, backend = native.native_status(), _module("fdan_edge.models.ops.backend")
    if backend.chosen() != backend.BACKENDS[0]:
        way = "Triton on a GPU" if backend.chosen() == "triton" else "PyTorch reference, slower"
        return f"{way}, as {backend.VARIABLE} says"
    if not status.cpu:
        return f"PyTorch reference, slower: {status.detail}; {native.BUILD}"
    if torch.cuda.is_available() and not native.covers(torch.cuda.get_device_capability(), status.architectures):
        return f"compiled for {status.detail}; on this GPU slower: {native.BUILD_CUDA}"
    return f"compiled for {status.detail}"


def _onnx() -> str:
    return f"onnx {_module('onnx').__version__}, onnxscript {_module('onnxscript').__version__}"


def _tensorrt_rtx() -> str:
    return f"tensorrt_rtx {_module('tensorrt_rtx').__version__}"


def _tensorrt() -> str:
    return f"tensorrt {_module('tensorrt').__version__}"


def _gpu() -> str:
    command = shutil.which("nvidia-smi")
    if not command:
        raise RuntimeError("nvidia-smi is not installed")
    query = [command, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:  # a driver that does not fit its kernel, for one
        raise RuntimeError(f"nvidia-smi failed: {(done.stdout + done.stderr).strip()}")
    return "; ".join(done.stdout.split("\n")).strip("; ")


def _cuda_versions() -> str:
    """Say which CUDA driver, PyTorch, TensorRT and compiler have; that of TensorRT is compared at opening, too."""
    return cuda_versions.fitting()


def _target(target: Target) -> str:
    """Say what this machine runs of a target's models; graphs are made and checked on any machine with `train`."""
    if target.runtime == "onnxruntime-cpu":
        return f"runs here: {_onnxruntime()}, {' or '.join(target.precisions)}"
    if target.runtime == "onnxruntime-cuda":
        return f"runs here: {_onnxruntime_cuda()}, {_gpu()}"
    tensorrt = _tensorrt_rtx() if target.engine == "rtx" else _tensorrt()
    try:
        _module("pycuda.driver")
        return f"runs here: {tensorrt}, {_gpu()}"
    except Exception:  # as in `_try`
        raise RuntimeError(f"{tensorrt} builds engines, runs none") from None
