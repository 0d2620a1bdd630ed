"""A trained run behind the `Runner` interface, in PyTorch: the reference for everything exported."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from fdan_edge.config import Config
from fdan_edge.data.corpora import name_of
from fdan_edge.errors import BundleError
from fdan_edge.models.fdan import AcousticPath
from fdan_edge.runs.run_folder import RunInfo, load_model
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import COMPUTE, COPY_IN, COPY_OUT, Features, Probabilities, checked_windows


class TorchRunner:
    """PyTorch; a `FeatureRunner`.

    Args:
        folder: a run folder.
        device: cpu or cuda.
        precision: fp32 as is PyTorch's default (on a GPU convolutions round their factors to 11 bits), or fp16 by
            autocast, the front end in fp32 as everywhere.
        compiled: by torch.compile, with CUDA graphs on a GPU; each number of windows is compiled for itself, which
            takes a minute. Results are near the eager ones, not equal.

    Raises:
        CheckpointError: not a run folder, or its checkpoint is damaged.
    """

    def __init__(
        self, folder: Path, device: str = "cpu", precision: str = "fp32", *, compiled: bool = False
    ) -> None:
        self.path: AcousticPath
        self.path, self.config, self.info, calibration = load_model(folder)
        self.spec = model_spec(self.config, self.info, calibration)
        self.device = torch.device(device)
        self.path.to(self.device)
        self._half = precision == "fp16"
        words = ("PyTorch", "compiled" if compiled else "eager", device.upper(), *(["fp16"] if self._half else []))
        self.name = " ".join(words)
        self._predict: Callable[[Tensor], Tensor] = self._probabilities
        if compiled:
            mode = "reduce-overhead" if device == "cuda" else None
            self._predict = torch.compile(self._probabilities, mode=mode, dynamic=False)
        self.times: dict[str, float] = {}

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Predict probabilities (n, C) of windows (n, spec.window).

        Raises:
            ValueError: the windows are of another shape.
        """
        windows = torch.from_numpy(checked_windows(waveforms, self.spec))
        with torch.inference_mode():
            if self.device.type == "cuda":
                return self._on_gpu(windows)
            return self._predict(windows).numpy()

    def predict_features(self, waveforms: NDArray[np.float32]) -> tuple[Probabilities, Features]:
        """Predict probabilities (n, C) and the classifier's features (n, d) of windows (n, spec.window), eagerly.

        Raises:
            ValueError: the windows are of another shape.
        """
        windows = torch.from_numpy(checked_windows(waveforms, self.spec))
        with torch.inference_mode():
            probabilities, features = self._with_features(windows.to(self.device))
        return probabilities.cpu().numpy(), features.cpu().numpy()

    def _on_gpu(self, windows: Tensor) -> Probabilities:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(4)]  # type: ignore[no-untyped-call]
        events[0].record()
        inputs = windows.to(self.device)
        events[1].record()
        on_device = self._predict(inputs)
        events[2].record()
        probabilities: Probabilities = on_device.cpu().numpy()
        events[3].record()
        events[3].synchronize()
        spans = zip((COPY_IN, COMPUTE, COPY_OUT), itertools.pairwise(events), strict=True)
        self.times = {part: before.elapsed_time(after) for part, (before, after) in spans}
        return probabilities

    def _probabilities(self, windows: Tensor) -> Tensor:
        if self._half:
            return self._with_features(windows)[0]
        return self.path(windows)  # type: ignore[no-any-return]

    def _with_features(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute probabilities (n, C) and features Z_a (n, d), both in fp32."""
        decibel = self.path.frontend(windows)
        with torch.autocast(self.device.type, torch.float16, enabled=self._half):
            features = self.path.model.acoustic_features(decibel)
            logits = self.path.model.logits(features)
        return torch.softmax(logits.float() / self.path.temperature, dim=1), features.float()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def open_run(folder: Path, threads: int, runtime: str, precision: str | None) -> TorchRunner:
    """Open a run folder with PyTorch.

    Args:
        folder: the run folder.
        threads: of PyTorch on the CPU; 0: its own choice.
        runtime: torch, torch-cuda or torch-compile.
        precision: fp32 or fp16; None: fp32.

    Raises:
        BundleError: the runtime needs a GPU, and PyTorch cannot use one here.
        CheckpointError: not a run folder, or its checkpoint is damaged.
    """
    if threads:
        torch.set_num_threads(threads)
    if runtime == "torch":
        return TorchRunner(folder)
    if not torch.cuda.is_available():
        raise BundleError(f"{folder}: {runtime} needs a CUDA GPU that this PyTorch can use, and finds none")
    return TorchRunner(folder, "cuda", precision or "fp32", compiled=runtime == "torch-compile")


def model_spec(config: Config, info: RunInfo, calibration: dict[str, Any]) -> ModelSpec:
    """Describe a run for a device: how to feed the model, and in `info` where it comes from."""
    return ModelSpec(
        labels=tuple(info.classes),
        sample_rate=config.sample_rate,
        window=config.window,
        window_hop=config.window_hop,
        trim_db=config.trim_db,
        high_pass=config.high_pass,
        info={
            "recipe": config.recipe,
            "backbone": config.backbone,
            "acoustic_path": config.acoustic_path if config.attention_layers and info.faces else "no attention",
            "protocol": info.protocol,
            "audit": info.audit,
            "speech": [name_of(source) for source in info.speech],
            "faces": [name_of(source) for source in info.faces],
            "method": config.method,
            **({"unknown_below": calibration["unknown_below"]} if calibration.get("unknown_below") else {}),
            "target": [name_of(source) for source in info.target],  # used without labels
            "teacher": {name: value for name, value in info.teacher.items() if name != "run"},
            "log_mel": {
                "n_fft": config.n_fft,
                "hop": config.hop,
                "n_mels": config.n_mels,
                "dynamic_range": config.dynamic_range,
                "decibel": f"power_to_db(top_db={config.dynamic_range:g}), model input (dB + 40) / 20",
                "level": config.level,  # what 0 dB is
                "channel": config.channel,
            },
            "calibration": {name: value for name, value in calibration.items() if name != "unknown_below"},
            "versions": info.versions,
        },
    )
