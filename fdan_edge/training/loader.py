"""Batches of a training, read ahead from the memory-mapped cache while the device computes.

All chance of a step comes from (seed, epoch, step), so a training that is taken up anywhere goes on as it would
have, and is drawn for the rows of all processes, so that it does not depend on how many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

from fdan_edge.config import Config
from fdan_edge.features.extract import Faces, Voices
from fdan_edge.training import distributed
from fdan_edge.training.augment import augment, draw_variants, draws_per_row
from fdan_edge.training.class_balance import balanced_order
from fdan_edge.training.distillation import TeacherTargets
from fdan_edge.training.objective import Batch
from fdan_edge.utils.threads import in_order

_AHEAD = 2  # steps that are read before they are wanted

R = TypeVar("R")


@dataclass(frozen=True)
class _RawBatch:
    """One step as it is read: rows of this process, labels of all processes' rows."""

    decibel: Tensor  # float16, (n, 1, mels, frames), or what frozen stages gave, as `Voices` has it
    labels: Tensor  # (N,)
    draws: Tensor  # random numbers of the voices, then of the target's, (n + n_t, k)
    target: Tensor | None
    pixels: Tensor | None  # uint8, (m, 3, size, size)
    faces: Tensor | None  # (M,)
    face_draws: Tensor | None  # (m, k)
    teacher: Tensor | None  # (N + N_t, C)
    keep: Tensor | None  # (N + N_t, 1)
    known: Tensor | None  # (N, C)

    def map(self, change: Callable[[Tensor], Tensor]) -> _RawBatch:
        values = (getattr(self, field.name) for field in fields(self))
        return _RawBatch(*(None if value is None else change(value) for value in values))  # type: ignore[arg-type]


class BatchLoader:
    """Makes the batches of a training.

    Args:
        config: augmentation, seed and batch of faces.
        train: labelled voices.
        faces: None: there are none.
        target: voices without labels; None: there are none.
        teacher: logits of a teacher; None: there is none.
        batch_size: voices of one step, of all processes together.
        device: where the batches go.
    """

    def __init__(
        self,
        config: Config,
        train: Voices,
        faces: Faces | None,
        target: Voices | None,
        teacher: TeacherTargets | None,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.config, self.train, self.faces, self.target = config, train, faces, target
        self.teacher, self.batch_size, self.device = teacher, batch_size, device
        self.face_batch_size = divisible(config.face_batch_size)
        self.steps = len(train.labels) // batch_size
        #: Rows of this process: of labelled voices, of the target's, and of faces.
        rows = (batch_size, batch_size if target else 0, self.face_batch_size if faces else 0)
        self.own_rows = tuple(n // distributed.world_size() for n in rows)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from step `first` on; both from 0."""
        chance = make_generator(self.config.seed, number)
        orders: list[Tensor | None] = [
            self._order(self.steps * self.batch_size, chance),
            _cycled(self.faces, self.steps * self.face_batch_size, chance),
            _cycled(self.target, self.steps * self.batch_size, chance),
        ]

        def read(step: int) -> _RawBatch:
            voices, faces, target = (_rows_of_step(order, step, self.steps) for order in orders)
            assert voices is not None
            return self._read(number, step, voices, faces, target)

        steps = range(first, self.steps)
        # On the CPU there is nothing to wait for: reading takes 2 ms, and a thread beside those that compute more.
        for raw in read_ahead(read, steps, self.device) if self.device.type == "cuda" else map(read, steps):
            yield self._batch(raw.map(lambda tensor: tensor.to(self.device, non_blocking=True)))

    def _order(self, count: int, chance: torch.Generator) -> Tensor:
        """Draw the labelled voices of an epoch: each once, or of several corpora as often as it is to be."""
        if self.train.drawn is not None:
            return balanced_order(self.train.drawn, count, chance)
        return torch.randperm(len(self.train.labels), generator=chance)[:count]

    def _read(
        self, epoch: int, step: int, voices: Tensor, faces: Tensor | None, target: Tensor | None
    ) -> _RawBatch:
        """Read what the memory-mapped files and the generator give; nothing of it is computed on the device.

        The order of what is drawn from the generator decides what a seed trains: it must stay.
        """
        chance = make_generator(self.config.seed, epoch, step)
        variants = [_variants(self.train, voices, chance), _variants(self.target, target, chance)]
        per_voice = draws_per_row("voice", self.config)
        draws = [_draws(index, per_voice, chance) for index in (voices, target)]
        raw = _RawBatch(
            decibel=_read_own(self.train, variants[0], voices),
            labels=self.train.labels[voices],
            draws=torch.cat([own for drawn in draws if (own := _own(drawn)) is not None]),
            target=None if target is None or not self.target else _read_own(self.target, variants[1], target),
            pixels=None if faces is None or not self.faces else self.faces.pixels[_own(faces)],
            faces=None if faces is None or not self.faces else self.faces.labels[faces],
            face_draws=_own(_draws(faces, draws_per_row("face", self.config), chance)),
            teacher=self._teacher_logits(variants, voices, target),
            keep=self._keep(voices, target, chance),
            known=None if self.train.known is None else self.train.known[voices],
        )
        return raw.map(Tensor.pin_memory) if self.device.type == "cuda" else raw

    def _teacher_logits(
        self, variants: list[Tensor | None], voices: Tensor, target: Tensor | None
    ) -> Tensor | None:
        """The teacher's logits for the crops at the speeds that the student gets."""
        if self.teacher is None:
            return None
        logits = [self.teacher.voices[variants[0], voices]]
        if self.teacher.target is not None and target is not None:
            logits.append(self.teacher.target[variants[1], target])
        return torch.cat(logits)

    def _keep(self, voices: Tensor, target: Tensor | None, chance: torch.Generator) -> Tensor | None:
        """Draw which voices get the faces' term."""
        if not self.config.visual_dropout or self.faces is None:
            return None
        n = len(voices) + (0 if target is None else len(target))
        return (torch.rand(n, 1, generator=chance) >= self.config.visual_dropout).float()

    def _batch(self, raw: _RawBatch) -> Batch:
        """Augment, on the device."""
        n = len(raw.decibel)
        target = None if raw.target is None else self._augmented(self.target, raw.target, raw.draws[n:])
        images = None
        if raw.pixels is not None and raw.face_draws is not None:
            images = augment(raw.pixels.float() / 255, raw.face_draws, "face", self.config)
        decibel = self._augmented(self.train, raw.decibel, raw.draws[:n])
        return Batch(decibel, raw.labels, target, images, raw.faces, raw.teacher, raw.keep, raw.known)

    def _augmented(self, voices: Voices | None, rows: Tensor, draws: Tensor) -> Tensor:
        """Augment log-mels, or maps that frozen stages made of them; features of a frozen backbone stay."""
        assert voices is not None
        decibel = voices.as_input(rows)
        return decibel if decibel.ndim == 2 else augment(decibel, draws, "voice", self.config)


def make_generator(*place: int) -> torch.Generator:
    """Make the source of chance of a place in a training, such as (seed, epoch, step)."""
    return torch.Generator().manual_seed(derive_seed(*place))


def derive_seed(*place: int) -> int:
    """Hash a place in a training to a number below 2^63; those of near places have nothing to do with another."""
    digest = hashlib.sha256(" ".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def divisible(rows: int) -> int:
    """Round down to a number of rows of which all processes can have the same share."""
    return rows // distributed.world_size() * distributed.world_size()


def read_ahead(read: Callable[[int], R], steps: range, device: torch.device) -> Iterator[R]:
    """Yield what `read` gives for each step, read in another thread meanwhile."""

    def begin() -> None:
        torch.set_num_threads(1)
        if device.type == "cuda":  # else pinning would open the first GPU for every process
            torch.cuda.set_device(device)

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(1, initializer=begin) as pool:
            yield from in_order(pool, read, steps, _AHEAD)
    finally:
        torch.set_num_threads(threads)  # the pool's setting is what later threads would begin with


def _cycled(samples: Faces | Voices | None, count: int, chance: torch.Generator) -> Tensor | None:
    """`count` indices of faces or voices: whole random permutations, one after another."""
    if samples is None:
        return None
    n = len(samples.labels)
    return torch.cat([torch.randperm(n, generator=chance) for _ in range(-(-count // n))])[:count]


def _rows_of_step(order: Tensor | None, step: int, steps: int) -> Tensor | None:
    return None if order is None else order.view(steps, -1)[step]


def _variants(voices: Voices | None, index: Tensor | None, chance: torch.Generator) -> Tensor | None:
    if voices is None or index is None:
        return None
    return draw_variants(len(voices.decibel), len(index), chance)


def _draws(index: Tensor | None, per_row: int, chance: torch.Generator) -> Tensor | None:
    return None if index is None else torch.rand(len(index), per_row, generator=chance)


def _own(rows: Tensor | None) -> Tensor | None:
    return None if rows is None else rows[distributed.own_rows(len(rows))]


def _read_own(voices: Voices, variants: Tensor | None, index: Tensor) -> Tensor:
    """Read the rows of a batch that are this process's."""
    assert variants is not None
    own = distributed.own_rows(len(index))
    return voices.decibel[variants[own], index[own]]
