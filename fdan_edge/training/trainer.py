"""The training loop of FDAN, of the plain backbone (no faces), and towards a target corpus without labels."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.config import Config
from fdan_edge.errors import CheckpointError, ConfigError, DataError, TrainingError, is_out_of_memory, one_line
from fdan_edge.evaluation import metrics
from fdan_edge.features.extract import Faces, Voices
from fdan_edge.models.fdan import Fdan
from fdan_edge.runs import run_folder
from fdan_edge.training import distributed
from fdan_edge.training.device import prepare
from fdan_edge.training.distillation import Lessons
from fdan_edge.training.history import Epoch, epoch_line, shown
from fdan_edge.training.loader import Feed, seed, shared
from fdan_edge.training.memory_probe import too_large
from fdan_edge.training.objective import Batch
from fdan_edge.training.optimizer import build_average, build_optimizer, keep_freed_memory, learning_rate
from fdan_edge.training.step import Step
from fdan_edge.training.tally import Sums, Tally
from fdan_edge.training.tensorboard import Board, open_board
from fdan_edge.utils.files import write_text
from fdan_edge.utils.progress import TrainingLine

log = logging.getLogger(__name__)

_STEPS_SHOWN = 10  # of a training's curves: every so many steps

#: Told of each epoch when it is on disk.
OnEpoch: TypeAlias = Callable[[Epoch], None]


class Trainer:
    """A training that can be left at any time and taken up again; of several processes each has one.

    Args:
        config: the settings.
        classes: their names.
        train: labelled voices.
        val: voices that choose the epoch.
        faces: None: the plain backbone.
        folder: where the run is written.
        target: voices of another corpus, without labels.
        lessons: of a teacher.
        pretrained: False leaves the networks random, for `resume`.
        model: the networks, as `build_model` makes them; None: made here.
    """

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
        model: Fdan | None = None,
    ) -> None:
        if len(train.labels) < 2:
            raise DataError(f"{len(train.labels)} recording to train on; at least 2 are needed")
        keep_freed_memory()
        self.device = prepare(config)
        self.config, self.classes, self.folder = config, classes, folder
        self.train_voices, self.val_voices, self.faces = train, val, faces
        self.has_target = target is not None
        made = model or build_model(config, len(classes), faces=faces is not None, pretrained=pretrained)
        self.model = made.to(self.device).to(memory_format=torch.channels_last)
        self.averaged = build_average(self.model, config)
        self.optimizer = build_optimizer(self.model, config)
        self.val_recordings = int(val.owner.max()) + 1
        self.batch = _batch_size(config, len(train.labels))
        self.feed = Feed(config, train, faces, target, lessons, self.batch, self.device)
        self.steps = self.feed.steps
        weight = _class_weight(train.labels, len(classes)).to(self.device) if config.balanced else None
        self.step = Step(config, self.model, self.optimizer, self.averaged, weight, self.feed.own)
        self.tally = Tally(self.device)
        self.epoch = self.done = 0  # whole epochs, and steps of the next one
        self.saved = 0  # whole epochs that are on disk
        self.seconds = 0.0  # that those steps took
        self.history: list[Epoch] = []
        self.line, self.board = TrainingLine(config.epochs, self.steps, 0), Board(None)
        self.on_epoch: OnEpoch | None = None

    def resume(self) -> None:
        """Take up the state of last.safetensors.

        Raises:
            CheckpointError: it is damaged, or of other settings than the run's.
        """
        path = self.folder / "last.safetensors"
        tensors, state = run_folder.load_tensors(path)
        check_state(path, state, self.config)
        try:
            self.history = [Epoch(**values) for values in state["history"]]
            self.epoch = self.saved = int(state["epoch"])
            if self.epoch >= self.config.epochs:
                return  # only scores are left to do
            self.model.load_state_dict(_unprefixed(tensors, "model."))
            if self.averaged is not None:
                self.averaged.module.load_state_dict(_unprefixed(tensors, "averaged."))
                self.averaged.updates = int(state["updates"])
            run_folder.restore_optimizer(self.optimizer, tensors)
            self.step.scaler.load_state_dict(state["scaler"])
            self.tally = Tally(self.device, tensors["tally"])
            self.done, self.seconds = int(state["done"]), float(state["seconds"])
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise _unfit(path, error) from None

    def run(self) -> Epoch:
        """Train the remaining epochs; the record of the best one."""
        self.line = TrainingLine(self.config.epochs, self.steps, self.epoch)
        if self.history and distributed.is_main():  # one that was killed may have left it an epoch behind
            self._save_history()
        with self._board() as self.board, self.line:
            while self.epoch < self.config.epochs:
                record = self._one_epoch()
                self.history.append(record)
                self.line.best_uar = self.best().val_uar
                if distributed.is_main():
                    if record == self.best():
                        self._save_best()
                    self._save_last()
                self.saved = self.epoch
                self.board.epoch(record.epoch, asdict(record))
                log.info(epoch_line(record, self.config.epochs, best=record == self.best()))
                if self.on_epoch:
                    self.on_epoch(record)
        return self.best()

    def _board(self) -> Board:
        """Curves, of the process that writes; a training that is over has none to add."""
        if not distributed.is_main() or self.epoch >= self.config.epochs:
            return Board(None)
        return open_board(self.folder, first_step=self.epoch * self.steps + self.done + 1)

    def best(self) -> Epoch:
        """The epoch whose weights are kept: the lowest validation loss.

        Not the highest UAR: on a hundred recordings of two speakers it jumps by points from epoch to epoch,
        and once picked the sixth of fourteen, far from trained. Towards a target it is the last one: voices of
        the source do not say when those of the target are understood.
        """
        if self.config.method != "fdan" or self.has_target:
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
        start = time.perf_counter() - self.seconds
        self._train_steps(start)
        sums = self.tally.exact()
        training = time.perf_counter() - start
        self.epoch, self.done, self.seconds = self.epoch + 1, 0, 0.0
        self.tally.next_epoch()
        if not sums.steps:
            raise self._diverged(f"epoch {self.epoch}: no loss or gradient of its {self.steps} steps was finite")
        self._fill_bank()
        val_loss, val = self._validate()
        if not math.isfinite(val_loss):
            raise self._diverged(f"epoch {self.epoch}: the validation loss is {val_loss:g}")
        return Epoch(
            epoch=self.epoch,
            **sums.means,
            val_uar=val.uar,
            val_war=val.war,
            val_loss=val_loss,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=round(time.perf_counter() - start, 2),
            skipped=sums.skipped,
            rate=round(self.steps * self.batch / training, 1),
        )

    def _train_steps(self, start: float) -> None:
        """What is left of the steps of an epoch that began at `start`."""
        self.model.train()
        saved, begun, before = time.monotonic(), time.monotonic(), self.done
        for batch in self.feed.epoch(self.epoch, self.done):
            self._one_step(batch)
            known = self._known()
            now = time.monotonic()
            rate = (self.done - before) * self.batch / (now - begun)
            self.line.advance(self.epoch + 1, self.done, shown(known), rate)
            if self.done % _STEPS_SHOWN == 0:
                self.board.step(self.epoch * self.steps + self.done, known.means | {"voices per second": rate})
            if self._is_due(now - saved):
                self.seconds = time.perf_counter() - start
                self._save_within()
                saved = now

    def _known(self) -> Sums:
        """What the host knows of the steps; several processes, which must all end at the same one, ask together.

        Raises:
            TrainingError: too many steps in a row were not finite.
        """
        if distributed.size() > 1 and self.done % _STEPS_SHOWN:
            return self.tally.known()
        known = self.tally.known() if distributed.size() == 1 else self.tally.exact()
        if known.in_a_row >= self.config.bad_steps:
            raise self._diverged(
                f"epoch {self.epoch + 1}, step {self.done}: no loss or gradient of the last "
                f"{known.in_a_row} steps was finite"
            )
        return known

    def _one_step(self, batch: Batch) -> None:
        time_in_epochs = self.epoch + self.done / self.steps
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(self.config, time_in_epochs)
        # Of dropout. The same for all processes: they draw it for the rows of all of them.
        torch.manual_seed(seed(self.config.seed, self.epoch, self.done))
        try:
            values = self.step(batch, time_in_epochs / self.config.epochs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or distributed.size() > 1:
                raise
            values, failed = None, error.with_traceback(None)  # it would keep what the step held
        if values is None:
            raise too_large(self.step, batch, failed)
        self.tally.add(values)
        self.done += 1

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what}: the training diverged; lower lr = {self.config.lr:g}, alpha = {self.config.alpha:g} or "
            f"transfer_weight = {self.config.transfer_weight:g}. What earlier epochs left in {self.folder} stays"
        )

    def _fill_bank(self) -> None:
        model = self.final_model
        if not model.use_bank or not len(model.layers) or self.faces is None:
            return
        model.eval()
        per_class = self.config.bank_per_class
        faces = spread(self.faces.labels, per_class, len(self.classes))
        voices = spread(self.train_voices.labels, per_class, len(self.classes))
        images = self.faces.pixels[faces].to(self.device).float() / 255
        model.fill_bank(self.train_voices.read(0, voices, self.device), images)

    @torch.no_grad()
    def logits(self, model: Fdan, voices: Voices, windows: Tensor | None = None) -> Tensor:
        """Logits of all windows of some voices, or of those that are named, (windows, C), on the CPU."""
        model.to(self.device).eval()
        chosen = torch.arange(len(voices.labels)) if windows is None else windows
        made = [
            model.acoustic_logits(voices.read(0, index, self.device)).cpu() for index in torch.split(chosen, 64)
        ]
        return torch.cat(made) if made else torch.zeros(0, len(self.classes))

    def _validate(self) -> tuple[float, metrics.Scores]:
        """Loss and scores of whole recordings: probabilities are averaged over their windows."""
        voices = self.val_voices
        mean = by_recording(self._shared_logits(voices).softmax(1), voices.owner)
        labels = torch.zeros(len(mean), dtype=torch.long).scatter_(0, voices.owner, voices.labels)
        loss = functional.nll_loss(mean.clamp_min(1e-9).log(), labels)
        return float(loss), metrics.score(labels.tolist(), mean.argmax(1).tolist(), self.classes)

    def _shared_logits(self, voices: Voices) -> Tensor:
        """Logits of all windows; each process computes those of its part of the recordings."""
        mine = (voices.owner % distributed.size() == distributed.rank()).nonzero().flatten()
        made = torch.zeros(len(voices.labels), len(self.classes), device=self.device)
        made[mine.to(self.device)] = self.logits(self.final_model, voices, mine).to(self.device)
        return distributed.summed(made).cpu()

    def _save_best(self) -> None:
        state = {"epoch": self.epoch, "faces": self.faces is not None}
        path = self.folder / "checkpoint.safetensors"
        run_folder.save_tensors(path, dict(self.final_model.state_dict()), state)

    def _is_due(self, seconds: float) -> bool:
        """Whether to save, so long after the last time; at an epoch's end it is saved anyway."""
        minutes = self.config.save_minutes
        return distributed.is_main() and bool(minutes) and seconds > 60 * minutes and self.done < self.steps

    def _save_within(self) -> None:
        """Save what an epoch has done so far; where that cannot be, the training goes on and tries again later."""
        try:
            self._save_last()
        except OSError as error:
            log.warning(f"{self.folder}: cannot be saved now: {error.strerror or one_line(error)}; going on")

    def _save_last(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state: dict[str, Any] = {"epoch": self.epoch, "done": self.done, "seconds": self.seconds}
        if self.averaged is not None:
            tensors |= {f"averaged.{k}": v for k, v in self.averaged.module.state_dict().items()}
            state["updates"] = self.averaged.updates
        tensors |= run_folder.optimizer_tensors(self.optimizer) | {"tally": self.tally.state}
        state |= {"scaler": self.step.scaler.state_dict(), "history": [asdict(e) for e in self.history]}
        run_folder.save_tensors(self.folder / "last.safetensors", tensors, state)
        self._save_history()

    def _save_history(self) -> None:
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


def build_model(config: Config, classes: int, *, faces: bool, pretrained: bool = True) -> Fdan:
    """The networks of a training as it begins.

    Raises:
        ConfigError: the weights cannot be found, downloaded or read.
    """
    torch.manual_seed(config.seed)
    return Fdan(config, classes, faces=faces, pretrained=pretrained)


def restore_model(path: Path, model: Fdan) -> None:
    """Take the weights that `path`, a last.safetensors, has of a model.

    Raises:
        CheckpointError: they do not fit.
    """
    tensors, _ = run_folder.load_tensors(path)
    try:
        model.load_state_dict(_unprefixed(tensors, "model."))
    except RuntimeError as error:
        raise _unfit(path, error) from None


def _unfit(path: Path, error: Exception) -> CheckpointError:
    detail = one_line(RuntimeError(" ".join(str(error).split())))
    return CheckpointError(f"{path}: does not fit the run's config.toml: {detail}")


def check_state(path: Path, state: dict[str, Any], config: Config) -> None:
    """Whether a training can be taken up from what `path`, its last.safetensors, says of itself.

    Raises:
        CheckpointError: an older fdan-edge made it, and the training is not over.
    """
    if state and "scaler" not in state and state.get("epoch", 0) < config.epochs:
        raise CheckpointError(
            f"{path}: of an older fdan-edge, whose trainings cannot be taken up; its settings can: "
            f"fdan-edge train {path.with_name('config.toml')} --out NAME ..."
        )


def _batch_size(config: Config, recordings: int) -> int:
    """Voices of a step, of all processes together."""
    processes = distributed.size()
    for name in ("batch_size", "face_batch_size"):
        if (rows := getattr(config, name)) % processes:
            raise ConfigError(
                f"{name} = {rows} cannot be shared by {processes} processes; valid: {processes}, "
                f"{2 * processes}, {3 * processes}, ..."
            )
    if recordings < processes:
        raise DataError(f"{recordings} recordings to train on, for {processes} processes")
    return min(config.batch_size, shared(recordings))


def _unprefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
