"""The settings of the loss (FDAN eq. 9), of distillation, and of the adaptation to a corpus without labels."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.config.setting import Settings, setting
from fdan_edge.errors import ConfigError

#: How a training bridges the gap between the labelled corpus and the unlabelled one that it adapts to.
METHODS = ("fdan", "source", "mmd", "lmmd", "coral", "dann", "didan")


@dataclass(frozen=True)
class LossSettings(Settings):
    """What a training minimises."""

    alpha: float = setting(1e-3, "weight of LMMD; 0 is the paper's ablation FDAN_2", low=0, high=1e3)
    alpha_ramp: float = setting(0.3, "share of the training over which alpha grows from 0", low=0, high=1)
    lmmd_classes: str = setting(
        "all", "what LMMD's sum is divided by: all C, or the shared classes", choices=("all", "shared")
    )
    label_smoothing: float = setting(0.1, "label smoothing of the cross-entropy", low=0, high=0.9)
    balanced: bool = setting(
        False, "every class counts the same in the voices' loss, however many recordings it has"
    )
    teacher: str = setting(
        "",
        "run folder of a trained network whose probabilities are learnt beside the labels (Hinton, Vinyals and "
        "Dean 2015); empty: labels only",
    )
    distill_weight: float = setting(
        0.7, "weight of the teacher's probabilities; the labels have the rest of 1", low=0, high=1
    )
    distill_temperature: float = setting(
        2.0, "what both networks' logits are divided by before they are compared", low=0.1, high=100
    )
    method: str = setting(
        "fdan",
        "how corpora are aligned: fdan through faces only; source not at all; didan, mmd, lmmd (with "
        "pseudo-labels), coral and dann directly",
        choices=METHODS,
    )
    source_loss: str = setting(
        "cross_entropy",
        "loss of the voices; regression: squared error to the one-hot label",
        choices=("cross_entropy", "regression"),
    )
    transfer_weight: float = setting(
        1.0, "DIDAN's lambda, and the weight of what other methods have in its place", low=0, high=1e4
    )
    aligned_layers: tuple[str, ...] = setting(
        (), "fully connected layers at which corpora are aligned, from 1, or output; empty: the last one"
    )
    tau: float = setting(
        0.1, "weight of |W|_1 in IDA, for features of unit length; at 2 nothing is reconstructed", low=0, high=2
    )
    ida_iterations: int = setting(100, "iterations of IDA's sparse solver for each batch", low=1, high=10_000)

    def check(self) -> None:
        """Check the layers' names, and that a teacher's probabilities have a loss to go into."""
        super().check()
        if len(set(self.aligned_layers)) < len(self.aligned_layers):
            raise ConfigError(f"aligned_layers = {', '.join(self.aligned_layers)} names a layer twice")
        if self.aligned_layers and self.method in ("fdan", "source"):
            raise ConfigError(f"aligned_layers goes with a method that aligns corpora, not {self.method}")
        if self.teacher and self.source_loss != "cross_entropy":
            raise ConfigError(
                f"a teacher's probabilities go with source_loss = cross_entropy, not {self.source_loss}"
            )
