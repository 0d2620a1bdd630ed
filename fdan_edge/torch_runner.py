"""A trained run behind the `Runner` interface, in PyTorch: the reference for everything exported."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.checkpoint import RunInfo, load_model
from fdan_edge.config import Config
from fdan_edge.models.fdan import AcousticPath
from fdan_edge.runners import Probabilities, checked_windows
from fdan_edge.spec import ModelSpec


class TorchRunner:
    """PyTorch eager on the CPU.

    Args:
        folder: a run folder.

    Raises:
        CheckpointError: not a run folder, or its checkpoint is damaged.
    """

    name = "PyTorch eager CPU"

    def __init__(self, folder: Path) -> None:
        self.path: AcousticPath
        self.path, self.config, self.info, calibration = load_model(folder)
        self.spec = model_spec(self.config, self.info, calibration)

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Probabilities (n, C) of windows (n, spec.window).

        Raises:
            ValueError: the windows are of another shape.
        """
        windows = torch.from_numpy(checked_windows(waveforms, self.spec))
        with torch.inference_mode():
            return self.path(windows).numpy()  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def model_spec(config: Config, info: RunInfo, calibration: dict[str, Any]) -> ModelSpec:
    """What a device needs to know of a run; `info` says where the model comes from."""
    return ModelSpec(
        labels=tuple(info.classes),
        sample_rate=config.sample_rate,
        window=config.window,
        window_hop=config.window_hop,
        trim_db=config.trim_db,
        info={
            "backbone": config.backbone,
            "acoustic_path": config.acoustic_path if config.attention_layers and info.faces else "no attention",
            "protocol": info.protocol,
            "audit": info.audit,
            "speech": [source.partition(":")[0] for source in info.speech],
            "faces": [source.partition(":")[0] for source in info.faces],
            "method": config.method,
            "target": [source.partition(":")[0] for source in info.target],  # heard without labels
            "teacher": {name: value for name, value in info.teacher.items() if name != "run"},
            "log_mel": {
                "n_fft": config.n_fft,
                "hop": config.hop,
                "n_mels": config.n_mels,
                "decibel": "power_to_db(top_db=80), model input (dB + 40) / 20",
                "level": config.level,  # what 0 dB is
                "channel": config.channel,
            },
            "calibration": calibration,  # its temperature is inside the graph
            "versions": info.versions,
        },
    )
