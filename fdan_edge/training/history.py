"""What an epoch of a training leaves in epochs.jsonl, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.training.tally import Sums

#: Terms of the loss, and how they are called on the line.
_NAMES = {
    "loss": "loss",
    "acoustic": "voice",
    "visual": "face",
    "alignment": "LMMD",
    "transfer": "transfer",
    "distilled": "teacher",
}


@dataclass(frozen=True)
class Epoch:
    """One line of epochs.jsonl."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's steps, as are the next three
    acoustic: float
    visual: float
    alignment: float  # sum of LMMD over the layers, before alpha
    train_war: float  # of augmented voices, during training
    val_uar: float
    val_war: float
    val_loss: float
    lr: float
    seconds: float
    transfer: float = 0.0  # between source and target, before its weight; mean over the steps
    distilled: float = 0.0  # divergence from the teacher, before its weight; likewise
    skipped: int = 0  # steps whose loss or gradient was not finite; the means are of the others
    rate: float = 0.0  # voices per second while training, without validation


def shown(known: Sums) -> dict[str, float]:
    """The terms on the line, the most important first; those that are not trained with are 0."""
    return {name: known.means[key] for key, name in _NAMES.items() if known.means.get(key)}


def epoch_line(e: Epoch, epochs: int, *, best: bool) -> str:
    mark = "  *" if best else ""
    between = f"  transfer {e.transfer:.3f}" if e.transfer else ""
    between += f"  teacher {e.distilled:.3f}" if e.distilled else ""
    skipped = f"  {e.skipped} step{'s' if e.skipped > 1 else ''} skipped" if e.skipped else ""
    return (
        f"epoch {e.epoch:>3}/{epochs}  loss {e.loss:.3f}  voice {e.acoustic:.3f}  face {e.visual:.3f}"
        f"  LMMD {e.alignment:.3f}{between}  val loss {e.val_loss:.3f} UAR {100 * e.val_uar:.1f} %"
        f"  {e.seconds:.0f} s{skipped}{mark}"
    )
