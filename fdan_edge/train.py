"""The training loop of FDAN, of the plain backbone (no faces), and towards a target corpus without labels."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from fdan_edge import augment, checkpoint, metrics
from fdan_edge.config import Config
from fdan_edge.distillation import Lessons
from fdan_edge.errors import CheckpointError, DataError, TrainingError, one_line
from fdan_edge.features import Faces, Voices
from fdan_edge.files import write_text
from fdan_edge.models.fdan import Fdan
from fdan_edge.objective import Batch, forward, terms
from fdan_edge.optimisation import build_average, build_optimizer, keep_freed_memory, learning_rate
from fdan_edge.progress import bar, console, say


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


#: Told of each epoch when it is on disk.
OnEpoch: TypeAlias = Callable[[Epoch], None]


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
        target: Voices | None = None,
        lessons: Lessons | None = None,
        pretrained: bool = True,
    ) -> None:
        if len(train.labels) < 2:
            raise DataError(f"{len(train.labels)} recording to train on; at least 2 are needed")
        keep_freed_memory()
        torch.manual_seed(config.seed)
        self.config, self.classes, self.folder = config, classes, folder
        self.train_voices, self.val_voices, self.faces, self.target = train, val, faces, target
        self.lessons = lessons
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = Fdan(config, len(classes), faces=faces is not None, pretrained=pretrained).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self.averaged = build_average(self.model, config)
        self.optimizer = build_optimizer(self.model, config)
        self.class_weight = _class_weight(train.labels, len(classes)).to(self.device) if config.balanced else None
        self.val_recordings = int(val.owner.max()) + 1
        self.batch = min(config.batch_size, len(train.labels))
        self.steps = len(train.labels) // self.batch
        self.epoch = 0
        self.history: list[Epoch] = []
        self.on_epoch: OnEpoch | None = None

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
            if self.on_epoch:
                self.on_epoch(record)
        return self.best()

    def best(self) -> Epoch:
        """The epoch whose weights are kept: the lowest validation loss.

        Not the highest UAR: on a hundred recordings of two speakers it jumps by points from epoch to epoch,
        and once picked the sixth of fourteen, far from trained. Towards a target it is the last one: voices of
        the source do not say when those of the target are understood.
        """
        if self.config.method != "fdan" or self.target is not None:
            return self.history[-1]
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
        loss, acoustic, visual, alignment, transfer, distilled, war = (sums / self.steps).tolist()
        if not math.isfinite(loss) or not math.isfinite(val_loss):
            raise TrainingError(
                f"epoch {self.epoch}: the loss is {loss:g} (validation {val_loss:g}): the training diverged; "
                f"lower lr = {self.config.lr:g}, alpha = {self.config.alpha:g} or transfer_weight = "
                f"{self.config.transfer_weight:g}. "
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
            transfer=transfer,
            distilled=distilled,
        )

    def _train_steps(self) -> Tensor:
        """All steps of an epoch; sums of the terms' values and of the accuracy, (7,)."""
        self.model.train()
        voices = torch.randperm(len(self.train_voices.labels))
        faces = self._order(self.faces, self.config.face_batch_size)
        target = self._order(self.target, self.batch)
        sums = torch.zeros(7, device=self.device)
        with bar() as progress:
            task = progress.add_task(f"epoch {self.epoch + 1}/{self.config.epochs}", total=self.steps)
            for step in range(self.steps):
                chosen = voices[step * self.batch : (step + 1) * self.batch]
                time_in_epochs = self.epoch + step / self.steps
                for group in self.optimizer.param_groups:
                    group["lr"] = group["share"] * learning_rate(self.config, time_in_epochs)
                others = (None if order is None else order[step] for order in (faces, target))
                sums += self._step(self._batch(chosen, *others), time_in_epochs / self.config.epochs)
                progress.update(task, advance=1, description=self._describe(sums, step + 1))
        return sums.cpu()

    def _order(self, of: Faces | Voices | None, size: int) -> Tensor | None:
        """Which faces, or voices of the target, each step of an epoch sees, (steps, size)."""
        if of is None:
            return None
        return _cycled(len(of.labels), self.steps * size).view(self.steps, -1)

    def _describe(self, sums: Tensor, steps: int) -> str:
        text = f"epoch {self.epoch + 1}/{self.config.epochs}"
        if not console.is_terminal:  # reading the loss waits for the device
            return text
        uar = f"  best UAR {100 * self.best().val_uar:.1f} %" if self.history else ""
        return f"{text}  loss {float(sums[0]) / steps:.3f}{uar}"

    def _step(self, batch: Batch, progress: float) -> Tensor:
        """One step of the optimiser; the terms' values and the accuracy, (7,)."""
        outputs = forward(self.model, batch)
        made = terms(
            outputs,
            batch,
            self.config,
            progress=progress,
            class_weight=self.class_weight,
            domain=self.model.domain,
        )
        self.optimizer.zero_grad(set_to_none=True)
        made.total.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        logits = outputs.logits[: len(batch.labels)].detach()
        right = (logits.argmax(1) == batch.labels).float().mean()
        return torch.cat([made.values(), right[None]])

    def _batch(self, voices: Tensor, faces: Tensor | None, target: Tensor | None) -> Batch:
        variant, decibel = self._decibel(self.train_voices, voices)
        labels = self.train_voices.labels[voices].to(self.device)
        lessons = [self.lessons.voices[variant, voices]] if self.lessons else []
        others = None
        if self.target is not None and target is not None:
            variant, others = self._decibel(self.target, target)
            lessons += (
                [self.lessons.target[variant, target]] if self.lessons and self.lessons.target is not None else []
            )
        teacher = torch.cat(lessons).to(self.device) if lessons else None
        if self.faces is None or faces is None:
            return Batch(decibel, labels, others, teacher=teacher)
        images = augment.warp_faces(self._pixels(faces))
        return Batch(decibel, labels, others, images, self.faces.labels[faces].to(self.device), teacher)

    def _decibel(self, voices: Voices, index: Tensor) -> tuple[Tensor, Tensor]:
        """Which speed each of these voices has now, and its augmented log-mels.

        What a frozen backbone made of them stays as it is.
        """
        config = self.config
        variant = torch.randint(len(voices.decibel), (len(index),))
        decibel = voices.read(variant, index, self.device)
        if decibel.ndim == 2:
            return variant, decibel
        decibel = augment.time_shift(decibel)
        return variant, augment.spec_augment(decibel, config.masks, config.time_mask, config.freq_mask)

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
        model.fill_bank(self.train_voices.read(0, voices, self.device), self._pixels(faces))

    @torch.no_grad()
    def logits(self, model: Fdan, voices: Voices) -> Tensor:
        """Logits of all windows of some voices, (windows, C), on the CPU."""
        model.to(self.device).eval()
        batches = torch.split(torch.arange(len(voices.labels)), 64)
        return torch.cat([model.acoustic_logits(voices.read(0, index, self.device)).cpu() for index in batches])

    @torch.no_grad()
    def _validate(self) -> tuple[float, metrics.Scores]:
        """Loss and scores of whole recordings: probabilities are averaged over their windows."""
        voices = self.val_voices
        mean = by_recording(self.logits(self.final_model, voices).softmax(1), voices.owner)
        labels = torch.zeros(len(mean), dtype=torch.long).scatter_(0, voices.owner, voices.labels)
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


def by_recording(windows: Tensor, owner: Tensor) -> Tensor:
    """Mean over the windows of each recording: (windows, C) and whose they are, (windows,), to (n, C)."""
    count = int(owner.max()) + 1
    sums = torch.zeros(count, windows.shape[1]).index_add_(0, owner, windows)
    return sums / owner.bincount(minlength=count)[:, None]


def _class_weight(labels: Tensor, classes: int) -> Tensor:
    """What gives every class the same part in the loss, 1 on average over the recordings: (C,)."""
    count = labels.bincount(minlength=classes).float()
    return len(labels) / (count.clamp_min(1) * (count > 0).sum())


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
    between = f"  transfer {e.transfer:.3f}" if e.transfer else ""
    between += f"  teacher {e.distilled:.3f}" if e.distilled else ""
    return (
        f"epoch {e.epoch:>3}/{epochs}  loss {e.loss:.3f}  voice {e.acoustic:.3f}  face {e.visual:.3f}"
        f"  LMMD {e.alignment:.3f}{between}  val loss {e.val_loss:.3f} UAR {100 * e.val_uar:.1f} %"
        f"  {e.seconds:.0f} s{mark}"
    )
