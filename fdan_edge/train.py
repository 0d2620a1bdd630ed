"""The training loop of FDAN and of the plain backbone (no faces)."""

from __future__ import annotations

import ctypes
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fdan_edge import augment, checkpoint, metrics
from fdan_edge.config import Config
from fdan_edge.errors import CheckpointError, DataError, TrainingError, one_line
from fdan_edge.features import Faces, Voices
from fdan_edge.files import write_text
from fdan_edge.losses import Terms, fdan_loss
from fdan_edge.models.fdan import Fdan
from fdan_edge.progress import bar, console, say

_Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


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


class Trainer:
    """A training that can be left after any epoch and taken up again."""

    def __init__(
        self,
        config: Config,
        classes: list[str],
        train: Voices,
        val: Voices,
        faces: Faces | None,
        folder: Path,
        *,
        pretrained: bool = True,
    ) -> None:
        if len(train.labels) < 2:
            raise DataError(f"{len(train.labels)} recording to train on; at least 2 are needed")
        keep_freed_memory()
        torch.manual_seed(config.seed)
        self.config, self.classes, self.folder = config, classes, folder
        self.train_voices, self.val_voices, self.faces = train, val, faces
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = Fdan(config, len(classes), faces=faces is not None, pretrained=pretrained).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self.averaged = _averaged(self.model, config)
        self.optimizer = _optimizer(self.model, config)
        self.class_weight = _class_weight(train.labels, len(classes)).to(self.device) if config.balanced else None
        self.val_recordings = int(val.owner.max()) + 1
        self.batch = min(config.batch_size, len(train.labels))
        self.steps = len(train.labels) // self.batch
        self.epoch = 0
        self.history: list[Epoch] = []

    def resume(self) -> None:
        """Take up the state of last.safetensors.

        Raises:
            CheckpointError: it is damaged, or of other settings than the run's.
        """
        path = self.folder / "last.safetensors"
        tensors, state = checkpoint.load_tensors(path)
        try:
            self.model.load_state_dict(_unprefixed(tensors, "model."))
            if self.averaged is not None:
                self.averaged.load_state_dict(_unprefixed(tensors, "averaged."))
            checkpoint.restore_optimizer(self.optimizer, tensors)
            self.epoch = int(state["epoch"])
            self.history = [Epoch(**values) for values in state["history"]]
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            detail = one_line(RuntimeError(" ".join(str(error).split())))
            raise CheckpointError(f"{path}: does not fit the run's config.toml: {detail}") from None

    def run(self) -> Epoch:
        """Train the remaining epochs; the record of the best one."""
        while self.epoch < self.config.epochs:
            record = self._one_epoch()
            self.history.append(record)
            if record == self.best():
                self._save_best()
            self._save_last()
            say(_epoch_line(record, self.config.epochs, best=record == self.best()))
        return self.best()

    def best(self) -> Epoch:
        """The epoch whose weights are kept: the lowest validation loss.

        Not the highest UAR: on a hundred recordings of two speakers it jumps by points from epoch to epoch,
        and once picked the sixth of fourteen, far from trained.
        """
        return min(self.history, key=lambda e: e.val_loss)

    @property
    def final_model(self) -> Fdan:
        """The weights that are validated and saved: averaged ones, where they are wanted."""
        if self.averaged is None:
            return self.model
        module = self.averaged.module
        assert isinstance(module, Fdan)
        return module

    def _one_epoch(self) -> Epoch:
        start = time.perf_counter()
        # All chance of an epoch comes from (seed, epoch), so a resumed run repeats it exactly.
        torch.manual_seed(self.config.seed * 1_000_003 + self.epoch + 1)
        sums = self._train_steps()
        self.epoch += 1
        self._fill_bank()
        val_loss, val = self._validate()
        loss, acoustic, visual, alignment, war = (sums / self.steps).tolist()
        if not math.isfinite(loss) or not math.isfinite(val_loss):
            raise TrainingError(
                f"epoch {self.epoch}: the loss is {loss:g} (validation {val_loss:g}): the training diverged; "
                f"lower lr = {self.config.lr:g} or alpha = {self.config.alpha:g}. "
                f"What earlier epochs left in {self.folder} stays"
            )
        return Epoch(
            epoch=self.epoch,
            loss=loss,
            acoustic=acoustic,
            visual=visual,
            alignment=alignment,
            train_war=war,
            val_uar=val.uar,
            val_war=val.war,
            val_loss=val_loss,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=round(time.perf_counter() - start, 2),
        )

    def _train_steps(self) -> Tensor:
        """All steps of an epoch; sums of total, acoustic, visual, alignment and accuracy, (5,)."""
        self.model.train()
        voices = torch.randperm(len(self.train_voices.labels))
        faces = self._face_order()
        sums = torch.zeros(5, device=self.device)
        with bar() as progress:
            task = progress.add_task(f"epoch {self.epoch + 1}/{self.config.epochs}", total=self.steps)
            for step in range(self.steps):
                chosen = voices[step * self.batch : (step + 1) * self.batch]
                picked = None if faces is None else faces[step]
                sums += self._step(chosen, picked, self.epoch + step / self.steps)
                progress.update(task, advance=1, description=self._describe(sums, step + 1))
        return sums.cpu()

    def _face_order(self) -> Tensor | None:
        """The faces of each step of an epoch, (steps, face_batch_size)."""
        if self.faces is None:
            return None
        wanted = self.steps * self.config.face_batch_size
        return _cycled(len(self.faces.labels), wanted).view(self.steps, -1)

    def _describe(self, sums: Tensor, steps: int) -> str:
        text = f"epoch {self.epoch + 1}/{self.config.epochs}"
        if not console.is_terminal:  # reading the loss waits for the device
            return text
        uar = f"  best UAR {100 * self.best().val_uar:.1f} %" if self.history else ""
        return f"{text}  loss {float(sums[0]) / steps:.3f}{uar}"

    def _step(self, voices: Tensor, faces: Tensor | None, time_in_epochs: float) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(self.config, time_in_epochs)
        decibel, labels = self._voice_batch(voices)
        terms, logits = self._forward(decibel, labels, faces, time_in_epochs)
        self.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        right = (logits.detach().argmax(1) == labels).float().mean()
        return torch.stack([terms.total, terms.acoustic, terms.visual, terms.alignment, right]).detach()

    def _forward(
        self, decibel: Tensor, labels: Tensor, faces: Tensor | None, time_in_epochs: float
    ) -> tuple[Terms, Tensor]:
        config = self.config
        if faces is None or self.faces is None:
            logits = self.model.acoustic_logits(decibel)
            smoothing = config.label_smoothing
            loss = functional.cross_entropy(logits, labels, weight=self.class_weight, label_smoothing=smoothing)
            zero = torch.zeros((), device=self.device)
            return Terms(loss, zero, zero, loss), logits
        images = augment.warp_faces(self._pixels(faces))
        output = self.model(decibel, images)
        alpha = config.alpha * _ramp(config, time_in_epochs)
        terms = fdan_loss(
            output,
            self.faces.labels[faces].to(self.device),
            labels,
            alpha,
            class_count=config.lmmd_classes,
            label_smoothing=config.label_smoothing,
            weight=self.class_weight,
        )
        return terms, output.logits_acoustic

    def _voice_batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        config, voices = self.config, self.train_voices
        variant = torch.randint(len(voices.decibel), (len(index),))
        decibel = voices.decibel[variant, index].to(self.device).float()
        decibel = augment.time_shift(decibel)
        decibel = augment.spec_augment(decibel, config.masks, config.time_mask, config.freq_mask)
        return decibel, voices.labels[index].to(self.device)

    def _pixels(self, index: Tensor) -> Tensor:
        assert self.faces is not None
        return self.faces.pixels[index].to(self.device).float() / 255

    def _fill_bank(self) -> None:
        model = self.final_model
        if not model.use_bank or not len(model.layers) or self.faces is None:
            return
        model.eval()
        per_class = self.config.bank_per_class
        faces = spread(self.faces.labels, per_class, len(self.classes))
        voices = spread(self.train_voices.labels, per_class, len(self.classes))
        model.fill_bank(self.train_voices.decibel[0, voices].to(self.device).float(), self._pixels(faces))

    @torch.no_grad()
    def validation_logits(self, model: Fdan) -> Tensor:
        """Logits of all windows of the validation part, (windows, C), on the CPU."""
        model.to(self.device).eval()
        decibel = self.val_voices.decibel
        batches = (decibel[0, index] for index in torch.split(torch.arange(len(self.val_voices.labels)), 64))
        return torch.cat([model.acoustic_logits(b.to(self.device).float()).cpu() for b in batches])

    @torch.no_grad()
    def _validate(self) -> tuple[float, metrics.Scores]:
        """Loss and scores of whole recordings: probabilities are averaged over their windows."""
        voices = self.val_voices
        windows = self.validation_logits(self.final_model).softmax(1)
        count = int(voices.owner.max()) + 1
        sums = torch.zeros(count, len(self.classes)).index_add_(0, voices.owner, windows)
        mean = sums / voices.owner.bincount(minlength=count)[:, None]
        labels = torch.zeros(count, dtype=torch.long).scatter_(0, voices.owner, voices.labels)
        loss = functional.nll_loss(mean.clamp_min(1e-9).log(), labels)
        return float(loss), metrics.score(labels.tolist(), mean.argmax(1).tolist(), self.classes)

    def _save_best(self) -> None:
        state = {"epoch": self.epoch, "faces": self.faces is not None}
        path = self.folder / "checkpoint.safetensors"
        checkpoint.save_tensors(path, dict(self.final_model.state_dict()), state)

    def _save_last(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.averaged is not None:
            tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= checkpoint.optimizer_tensors(self.optimizer)
        state: dict[str, Any] = {"epoch": self.epoch, "history": [asdict(e) for e in self.history]}
        checkpoint.save_tensors(self.folder / "last.safetensors", tensors, state)
        lines = "".join(json.dumps(asdict(e)) + "\n" for e in self.history)
        write_text(self.folder / "epochs.jsonl", lines)


def learning_rate(config: Config, time_in_epochs: float) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    if time_in_epochs < config.warmup_epochs:
        return config.lr * (time_in_epochs + 0.05) / (config.warmup_epochs + 0.05)
    share = (time_in_epochs - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1))))


def keep_freed_memory() -> None:
    """Let glibc keep freed activations instead of giving them back to the kernel at every step.

    Measured on 2 cores, MobileNetV2, batch 32 at 128x188: 1.2 s a step before, 0.5 to 0.7 s after.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # not glibc
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 256 << 20)


def _class_weight(labels: Tensor, classes: int) -> Tensor:
    """What gives every class the same part in the loss, 1 on average over the recordings: (C,)."""
    count = labels.bincount(minlength=classes).float()
    return len(labels) / (count.clamp_min(1) * (count > 0).sum())


def _averaged(model: Fdan, config: Config) -> AveragedModel | None:
    if not config.ema_decay:
        return None

    def average(averaged: _Tensors, current: _Tensors, steps: Tensor | int) -> None:
        # A short memory at first, or a short training would keep its random beginning.
        decay = min(config.ema_decay, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(decay)(averaged, current, steps)  # type: ignore[no-untyped-call]

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def _optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    groups = _groups(model, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, config.lr, config.momentum, weight_decay=config.weight_decay, fused=True)
    return torch.optim.AdamW(groups, config.lr, weight_decay=config.weight_decay, fused=True)


def _groups(model: nn.Module, config: Config) -> list[dict[str, Any]]:
    """What is trained, the backbones at their share of the learning rate."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if config.backbone_lr == 1:  # one group, in the model's order, as runs of before have it
        return [{"params": [p for _, p in trained], "share": 1.0}]
    backbones = [p for name, p in trained if ".backbone." in name]
    others = [p for name, p in trained if ".backbone." not in name]
    groups = [{"params": others, "share": 1.0}, {"params": backbones, "share": config.backbone_lr}]
    return [group for group in groups if group["params"]]


def _ramp(config: Config, time_in_epochs: float) -> float:
    """Share of alpha at this time: features must mean something before they are pulled together."""
    length = config.alpha_ramp * config.epochs
    return 1.0 if length <= 0 else min(1.0, time_in_epochs / length)


def _cycled(n: int, wanted: int) -> Tensor:
    """`wanted` indices below n: whole random permutations, one after another."""
    rounds = -(-wanted // n)
    return torch.cat([torch.randperm(n) for _ in range(rounds)])[:wanted]


def spread(labels: Tensor, count: int, num_classes: int) -> Tensor:
    """`count` indices of each class, evenly over its items, with repetition where it has fewer."""
    chosen = []
    for c in range(num_classes):
        members = (labels == c).nonzero().flatten()
        if len(members):
            chosen.append(members[torch.linspace(0, len(members) - 1, count).long()])
    found = torch.cat(chosen)
    # Classes without items leave room, which the others fill: the bank's shape is fixed.
    return found.repeat(-(-count * num_classes // len(found)))[: count * num_classes]


def _unprefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _epoch_line(e: Epoch, epochs: int, *, best: bool) -> str:
    mark = "  *" if best else ""
    return (
        f"epoch {e.epoch:>3}/{epochs}  loss {e.loss:.3f}  voice {e.acoustic:.3f}  face {e.visual:.3f}"
        f"  LMMD {e.alignment:.3f}  val loss {e.val_loss:.3f} UAR {100 * e.val_uar:.1f} %  {e.seconds:.0f} s{mark}"
    )
