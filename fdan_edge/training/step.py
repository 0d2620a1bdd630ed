"""One step of a training, without waiting for the device."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fdan_edge.config import Config
from fdan_edge.models.fdan import Fdan
from fdan_edge.models.layers.norm import share_statistics
from fdan_edge.training import distributed
from fdan_edge.training.device import number_format
from fdan_edge.training.objective import Batch, forward, loss_terms
from fdan_edge.training.optimizer import AveragedWeights


class Step:
    """Runs forward, backward, clipping, the optimiser and the averaged weights.

    A step whose loss or gradient is not finite changes nothing: neither weights nor moments nor the norms' running
    statistics. Whether that is so the device decides, so nobody waits for it.

    Args:
        model: on its device.
        optimizer: a fused one: those can be told on the device to leave everything as it is.
        average: of the weights; None: there is none.
        class_weight: of each class in the voices' loss, (C,).
        rows: of this process in each batch: labelled voices, the target's, faces.
    """

    def __init__(
        self,
        config: Config,
        model: Fdan,
        optimizer: torch.optim.Optimizer,
        average: AveragedWeights | None,
        class_weight: Tensor | None,
        rows: tuple[int, ...],
    ) -> None:
        self.config, self.model, self.optimizer, self.average = config, model, optimizer, average
        self.class_weight = class_weight
        self.device = next(model.parameters()).device
        self.format = number_format(config, self.device)
        # float16's gradients would vanish unless they are scaled; for the others the scale stays 1, and the scaler
        # keeps the optimiser from steps that are not finite.
        self.scaling = self.format == torch.float16
        scale = 2.0**10 if self.scaling else 1.0
        self.scaler = torch.amp.GradScaler(self.device.type, init_scale=scale, growth_interval=200)
        self.trained = [p for p in model.parameters() if p.requires_grad]
        buffers = model.named_buffers()
        self.statistics = [b for name, b in buffers if name.endswith(("running_mean", "running_var"))]
        _gather(model, rows)
        self.network = _compiled(model, config)

    def __call__(self, batch: Batch, progress: float) -> Tensor:
        """Take one step; its `history.STEP_METRICS`, (8,): zeros but the last where it was skipped."""
        before = _flat(self.statistics)
        values = self._gradients(batch, progress)
        gradients = [p.grad for p in self.trained if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # All processes come to the same: gradients are averaged, and each computes the loss of all their rows.
        bad = ~(norm.isfinite() & values[0].isfinite())
        gradients[0].masked_fill_(bad, torch.nan)  # which the scaler looks for, and the optimiser then leaves all
        self.scaler.unscale_(self.optimizer)
        if self.config.clip_norm:
            scale = self.scaler.scale(torch.ones_like(norm))
            nn.utils.clip_grads_with_norm_(self.trained, self.config.clip_norm, norm / scale)
        self.scaler.step(self.optimizer)
        self.scaler.update(None if self.scaling else 1.0)
        self._restore(before, bad)
        if self.average is not None:
            self.average.update(bad)
        return torch.cat([torch.where(bad, 0, values), bad[None]])

    def trial(self, batch: Batch) -> None:
        """Run forward and backward of a batch, of this process alone, to see whether it fits into memory."""
        self._gradients(batch, 1.0, self.model)

    def _gradients(self, batch: Batch, progress: float, network: nn.Module | None = None) -> Tensor:
        """Forward and backward; the terms' values and the accuracy, (7,)."""
        with torch.autocast(self.device.type, self.format, enabled=self.format != torch.float32):
            outputs = forward(network or self.network, batch)
        outputs = outputs.float()
        loss = loss_terms(
            outputs,
            batch,
            self.config,
            progress=progress,
            class_weight=self.class_weight,
            domain=self.model.domain,
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss.total).backward()  # type: ignore[no-untyped-call]
        logits = outputs.logits_acoustic[: len(batch.labels)].detach()
        right = (logits.argmax(1) == batch.labels).float().mean()
        return torch.cat([loss.values(), right[None]])

    def _restore(self, before: Tensor, bad: Tensor) -> None:
        """Running statistics that a bad batch went into are lost for good."""
        if len(before):
            kept = torch.where(bad, before, _flat(self.statistics))
            parts = torch.split(kept, [b.numel() for b in self.statistics])
            shaped = [part.view_as(b) for part, b in zip(parts, self.statistics, strict=True)]
            torch._foreach_copy_(self.statistics, shaped)


def _gather(model: Fdan, rows: tuple[int, ...]) -> None:
    """Let attention, LMMD and the losses see the rows of all processes."""
    if distributed.world_size() == 1:
        return
    share_statistics(model)
    voices, others, faces = rows
    model.acoustic.gather = lambda features: distributed.all_gather(features.float(), [voices, others])
    if model.visual is not None:
        model.visual.gather = lambda features: distributed.all_gather(features.float(), [faces])


def _compiled(model: Fdan, config: Config) -> nn.Module:
    """The model as the steps call it."""
    if config.torch_compile != "none":
        for branch in (model.acoustic, model.visual):
            if branch is not None:
                branch.backbone.compile(mode=config.torch_compile)
    if distributed.world_size() == 1:
        return model
    # Each process computes the norms' statistics of all rows: there is nothing to broadcast.
    with warnings.catch_warnings():  # 2.14 has another name for it, which older ones do not know
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors]) if tensors else torch.zeros(0)
