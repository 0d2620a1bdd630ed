"""The training loop: of FDAN, of the plain backbone (no faces), and towards a target corpus without labels."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from fdan_edge.config import Config
from fdan_edge.errors import ConfigError, DataError, TrainingError, is_out_of_memory, one_line
from fdan_edge.evaluation import metrics
from fdan_edge.features.extract import Faces, Voices
from fdan_edge.models.fdan import Fdan
from fdan_edge.runs import run_folder
from fdan_edge.training import checkpoints, distributed
from fdan_edge.training.checkpoints import Progress
from fdan_edge.training.class_balance import class_weights, even_sample
from fdan_edge.training.device import prepare_device
from fdan_edge.training.distillation import TeacherTargets
from fdan_edge.training.history import EpochMetrics, RunningMetrics, StepMeans
from fdan_edge.training.loader import BatchLoader, derive_seed, divisible
from fdan_edge.training.memory_probe import out_of_memory_error
from fdan_edge.training.norm_statistics import set_statistics
from fdan_edge.training.objective import Batch
from fdan_edge.training.optimizer import (
    build_averaged_weights,
    build_optimizer,
    keep_freed_memory,
    learning_rate,
)
from fdan_edge.training.step import Step
from fdan_edge.training.tensorboard import TensorBoardWriter, open_writer
from fdan_edge.training.validation import compute_logits, validate
from fdan_edge.utils.files import write_text
from fdan_edge.utils.progress import TrainingLine

log = logging.getLogger(__name__)

_LOG_EVERY = 10  # steps between two points of TensorBoard's curves

#: Called with each epoch when it is on disk.
OnEpoch: TypeAlias = Callable[[EpochMetrics], None]
#: Called after each step with its number, from 1 over the whole training, and the seconds that it took the host.
OnStep: TypeAlias = Callable[[int, float], None]


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
        teacher: logits of a teacher for the training crops.
        pretrained: False leaves the networks random, for `resume`.
        model: the networks, as `build_model` makes them; None: made here.
        keep_last: the last epoch is kept, whatever validation says.
        on_epoch: called with each epoch; what it raises ends the training.
        on_step: called after each step.

    Raises:
        ConfigError: the batch cannot be shared by the processes, or the weights cannot be read.
        DataError: too few recordings to train on.
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
        teacher: TeacherTargets | None = None,
        pretrained: bool = True,
        model: Fdan | None = None,
        keep_last: bool = False,
        on_epoch: OnEpoch | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        if len(train.labels) < 2:
            raise DataError(f"{len(train.labels)} recording to train on; at least 2 are needed")
        keep_freed_memory()
        self.device = prepare_device(config)
        self.config, self.classes, self.folder = config, classes, folder
        self.train_voices, self.val_voices, self.faces = train, val, faces
        self.has_target, self.keep_last = target is not None, keep_last
        self.on_epoch, self.on_step = on_epoch, on_step
        if model is None:
            model = build_model(config, len(classes), faces=faces is not None, pretrained=pretrained)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(self.model, config)
        self.val_recordings = int(val.owner.max()) + 1
        self.batch_size = _batch_size(config, len(train.labels))
        self.loader = BatchLoader(config, train, faces, target, teacher, self.batch_size, self.device)
        self.steps = self.loader.steps  # of an epoch
        if pretrained:
            set_statistics(self.model, train, self.device)
        self.averaged = build_averaged_weights(self.model, config, config.epochs * self.steps)
        weight = (
            class_weights(train.labels, len(classes), train.drawn).to(self.device) if config.balanced else None
        )
        self.step = Step(config, self.model, self.optimizer, self.averaged, weight, self.loader.own_rows)
        self.running = RunningMetrics(self.device)
        self.epoch = self.done = 0  # whole epochs, and steps of the next one
        self.saved = 0  # whole epochs that are on disk
        self.seconds = 0.0  # that the steps of the next epoch took
        self.history: list[EpochMetrics] = []
        self.line, self.curves = TrainingLine(config.epochs, self.steps, 0), TensorBoardWriter(None)

    def resume(self) -> None:
        """Go on from last.safetensors.

        Raises:
            CheckpointError: it is damaged, or of other settings than the run's.
        """
        progress, running = checkpoints.load_state(
            self.folder / checkpoints.LAST,
            self.config.epochs,
            self.model,
            self.averaged,
            self.optimizer,
            self.step.scaler,
        )
        self.epoch = self.saved = progress.epoch
        self.done, self.seconds, self.history = progress.done, progress.seconds, progress.history
        if running is not None:  # else only scores are left to compute
            self.running = running

    def run(self) -> EpochMetrics:
        """Train the remaining epochs, and return the best one.

        Raises:
            TrainingError: it diverged, or a batch does not fit into memory.
            OSError: an epoch cannot be written.
        """
        self.line = TrainingLine(self.config.epochs, self.steps, self.epoch)
        if self.history and distributed.is_main():  # one that was killed may have left it an epoch behind
            self._save_history()
        with self._open_curves() as self.curves, self.line:
            while self.epoch < self.config.epochs:
                self._end_epoch(self._train_epoch())
        return self.best()

    def best(self) -> EpochMetrics:
        """Choose the epoch whose weights are kept: the lowest validation loss, or the last one.

        Not the highest UAR: on a hundred recordings of two speakers it jumps by points from epoch to epoch,
        and once picked the sixth of fourteen, far from trained. Towards a target it is the last one: voices of
        the source do not say when those of the target are understood. So it is where a single speaker validates,
        on whom all epochs may be at chance.
        """
        if self.keep_last or self.config.method != "fdan" or self.has_target:
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

    def _open_curves(self) -> TensorBoardWriter:
        """Curves, of the process that writes; a training that is over has none to add."""
        if not distributed.is_main() or self.epoch >= self.config.epochs:
            return TensorBoardWriter(None)
        return open_writer(self.folder, first_step=self.epoch * self.steps + self.done + 1)

    def _train_epoch(self) -> EpochMetrics:
        start = time.perf_counter() - self.seconds
        self._train_steps(start)
        totals = self.running.exact()
        training = time.perf_counter() - start
        self.epoch, self.done, self.seconds = self.epoch + 1, 0, 0.0
        self.running.next_epoch()
        if not totals.steps:
            raise self._diverged(f"epoch {self.epoch}: no loss or gradient of its {self.steps} steps was finite")
        self._fill_bank()
        val_loss, val = self.validate()
        if not math.isfinite(val_loss):
            raise self._diverged(f"epoch {self.epoch}: the validation loss is {val_loss:g}")
        return EpochMetrics(
            epoch=self.epoch,
            **totals.means,
            val_uar=val.uar,
            val_war=val.war,
            val_loss=val_loss,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=round(time.perf_counter() - start, 2),
            skipped=totals.skipped,
            rate=round(self.steps * self.batch_size / training, 1),
        )

    def _train_steps(self, start: float) -> None:
        """Take what is left of the steps of an epoch that began at `start`."""
        self.model.train()
        saved, begun, before = time.monotonic(), time.monotonic(), self.done
        for batch in self.loader.epoch(self.epoch, self.done):
            self.train_step(batch)
            latest = self._check_steps()
            now = time.monotonic()
            rate = (self.done - before) * self.batch_size / (now - begun)
            self.line.advance(self.epoch + 1, self.done, latest.loss_terms(), rate)
            if self.done % _LOG_EVERY == 0:
                self.curves.step(self.epoch * self.steps + self.done, latest.means | {"voices per second": rate})
            if self._is_due(now - saved):
                self.seconds = time.perf_counter() - start
                self._save_within_epoch()
                saved = now

    def train_step(self, batch: Batch) -> None:
        """Take one step: set the learning rate, and count what came of it.

        Raises:
            TrainingError: the batch does not fit into memory.
        """
        begun = time.perf_counter()
        time_in_epochs = self.epoch + self.done / self.steps
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(self.config, time_in_epochs)
        # Of dropout. The same for all processes: they draw it for the rows of all of them.
        torch.manual_seed(derive_seed(self.config.seed, self.epoch, self.done))
        try:
            values = self.step(batch, time_in_epochs / self.config.epochs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or distributed.world_size() > 1:
                raise
            # Its traceback would keep what the step had in memory.
            values, failed = None, error.with_traceback(None)
        if values is None:
            raise out_of_memory_error(self.step, batch, failed)
        self.running.add(values)
        self.done += 1
        if self.on_step:
            self.on_step(self.epoch * self.steps + self.done, time.perf_counter() - begun)

    def _check_steps(self) -> StepMeans:
        """Return what the host knows of the steps, if not too many in a row were not finite.

        Several processes, which must all end at the same step, ask for the exact value, and not at each step.
        """
        if distributed.world_size() > 1 and self.done % _LOG_EVERY:
            return self.running.latest()
        latest = self.running.latest() if distributed.world_size() == 1 else self.running.exact()
        if latest.skipped_in_a_row >= self.config.bad_steps:
            raise self._diverged(
                f"epoch {self.epoch + 1}, step {self.done}: no loss or gradient of the last "
                f"{latest.skipped_in_a_row} steps was finite"
            )
        return latest

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what}: the training diverged; lower lr = {self.config.lr:g}, alpha = {self.config.alpha:g} or "
            f"transfer_weight = {self.config.transfer_weight:g}. What earlier epochs left in {self.folder} stays"
        )

    def _fill_bank(self) -> None:
        """Fill the bank of faces from training data, where the model has one."""
        model = self.final_model
        if not model.use_bank or not len(model.layers) or self.faces is None:
            return
        model.eval()
        per_class = self.config.bank_per_class
        faces = even_sample(self.faces.labels, per_class, len(self.classes))
        voices = even_sample(self.train_voices.labels, per_class, len(self.classes))
        images = self.faces.pixels[faces].to(self.device).float() / 255
        model.fill_bank(self.train_voices.read(0, voices, self.device), images)

    def validate(self) -> tuple[float, metrics.Scores]:
        """Compute loss and scores of the validation part."""
        return validate(self.final_model, self.val_voices, self.classes, self.device)

    def logits(self, model: Fdan, voices: Voices) -> Tensor:
        """Compute logits of all windows of some voices, (windows, C), on the CPU."""
        return compute_logits(model, voices, self.device)

    def _end_epoch(self, record: EpochMetrics) -> None:
        """Keep an epoch, write it to disk, and tell of it."""
        self.history.append(record)
        best = self.best()
        self.line.best_uar = best.val_uar
        if distributed.is_main():
            if record == best:
                self._save_best()
            self.save_last()
        self.saved = self.epoch
        self.curves.epoch(record.epoch, asdict(record))
        log.info(record.line(self.config.epochs, best=record == best))
        if self.on_epoch:
            self.on_epoch(record)

    def _save_best(self) -> None:
        state = {"epoch": self.epoch, "faces": self.faces is not None}
        path = self.folder / "checkpoint.safetensors"
        run_folder.save_tensors(path, dict(self.final_model.state_dict()), state)

    def _is_due(self, seconds: float) -> bool:
        """Whether to save, so long after the last time; at an epoch's end it is saved anyway."""
        minutes = self.config.save_minutes
        return distributed.is_main() and bool(minutes) and seconds > 60 * minutes and self.done < self.steps

    def _save_within_epoch(self) -> None:
        """Save what an epoch has done so far; where that cannot be, the training goes on and tries again later."""
        try:
            self.save_last()
        except OSError as error:
            log.warning(f"{self.folder}: cannot be saved now: {error.strerror or one_line(error)}; going on")

    def save_last(self) -> None:
        """Write the state to last.safetensors, from which `resume` goes on.

        Raises:
            OSError: it cannot be written; what was there before stays.
        """
        progress = Progress(self.epoch, self.done, self.seconds, self.history)
        path = self.folder / checkpoints.LAST
        state = (self.model, self.averaged, self.optimizer, self.step.scaler)
        checkpoints.save_state(path, progress, self.running, *state)
        self._save_history()

    def _save_history(self) -> None:
        lines = "".join(json.dumps(asdict(e)) + "\n" for e in self.history)
        write_text(self.folder / "epochs.jsonl", lines)


def build_model(config: Config, classes: int, *, faces: bool, pretrained: bool = True) -> Fdan:
    """Build the networks of a training as it begins.

    Raises:
        ConfigError: the weights cannot be found, downloaded or read.
    """
    torch.manual_seed(config.seed)
    return Fdan(config, classes, faces=faces, pretrained=pretrained)


def _batch_size(config: Config, recordings: int) -> int:
    """Voices of a step, of all processes together."""
    processes = distributed.world_size()
    for name in ("batch_size", "face_batch_size"):
        if (rows := getattr(config, name)) % processes:
            raise ConfigError(
                f"{name} = {rows} cannot be shared by {processes} processes; valid: {processes}, "
                f"{2 * processes}, {3 * processes}, ..."
            )
    if recordings < processes:
        raise DataError(f"{recordings} recordings to train on, for {processes} processes")
    return min(config.batch_size, divisible(recordings))
