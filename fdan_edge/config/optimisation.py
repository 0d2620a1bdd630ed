"""The settings of the optimiser."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.config.setting import Settings, setting


@dataclass(frozen=True)
class OptimisationSettings(Settings):
    """Batches, learning rates and averaged weights."""

    epochs: int = setting(20, "passes over the training part", low=1, high=100_000)
    batch_size: int = setting(
        32, "voices of a step, of all processes together, whatever their number", low=2, high=65536
    )
    face_batch_size: int = setting(32, "faces of a step, of all processes together", low=2, high=65536)
    optimizer: str = setting("adamw", "the optimiser", choices=("adamw", "sgd"))
    lr: float = setting(1e-3, "peak of the learning rate", low=1e-8, high=10)
    backbone_lr: float = setting(1.0, "the backbones' learning rate as a share of lr", low=0, high=100)
    momentum: float = setting(0.9, "momentum of sgd", low=0, high=0.9999)
    weight_decay: float = setting(0.01, "weight decay", low=0, high=1)
    warmup_epochs: float = setting(1.0, "epochs over which the learning rate grows", low=0, high=1000)
    clip_norm: float = setting(5.0, "longest gradient; 0: no clipping", low=0, high=1e6)
    ema_decay: float = setting(
        0.98,
        "decay of the averaged weights, which are validated and exported; lower in a short training, so that at "
        "most a twentieth of its steps is remembered; 0: none",
        low=0,
        high=0.99999,
    )
