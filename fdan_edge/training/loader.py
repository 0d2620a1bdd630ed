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
from fdan_edge.training import augment, distributed
from fdan_edge.training.distillation import Lessons
from fdan_edge.training.objective import Batch
from fdan_edge.utils.threads import in_order

_AHEAD = 2  # steps that are read before they are wanted

R = TypeVar("R")


@dataclass(frozen=True)
class _Raw:
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

    def each(self, change: Callable[[Tensor], Tensor]) -> _Raw:
        values = (getattr(self, field.name) for field in fields(self))
        return _Raw(*(None if value is None else change(value) for value in values))  # type: ignore[arg-type]


class Feed:
    """What the steps of a training see.

    Args:
        config: augmentation, seed and batch of faces.
        train: labelled voices.
        faces: None: there are none.
        target: voices without labels; None: there are none.
        lessons: of a teacher.
        batch: voices of one step, of all processes together.
        device: where the batches go.
    """

    def __init__(
        self,
        config: Config,
        train: Voices,
        faces: Faces | None,
        target: Voices | None,
        lessons: Lessons | None,
        batch: int,
        device: torch.device,
    ) -> None:
        self.config, self.train, self.faces, self.target = config, train, faces, target
        self.lessons, self.batch, self.device = lessons, batch, device
        self.face_batch = shared(config.face_batch_size)
        self.steps = len(train.labels) // batch
        #: Rows of this process: of labelled voices, of the target's, and of faces.
        rows = (batch, batch if target else 0, self.face_batch if faces else 0)
        self.own = tuple(n // distributed.size() for n in rows)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on."""
        chance = generator(self.config.seed, number)
        orders: list[Tensor | None] = [
            torch.randperm(len(self.train.labels), generator=chance)[: self.steps * self.batch],
            _cycled(self.faces, self.steps * self.face_batch, chance),
            _cycled(self.target, self.steps * self.batch, chance),
        ]

        def read(step: int) -> _Raw:
            voices, faces, target = (_part(order, step, self.steps) for order in orders)
            assert voices is not None
            return self._read(number, step, voices, faces, target)

        steps = range(first, self.steps)
        # On the CPU there is nothing to wait for: reading takes 2 ms, and a thread beside those that compute more.
        for raw in _ahead(read, steps, self.device) if self.device.type == "cuda" else map(read, steps):
            yield self._batch(raw.each(lambda tensor: tensor.to(self.device, non_blocking=True)))

    def _read(self, epoch: int, step: int, voices: Tensor, faces: Tensor | None, target: Tensor | None) -> _Raw:
        """What the memory-mapped files and the generator give; nothing of it is computed on the device."""
        chance = generator(self.config.seed, epoch, step)
        variants = [_variants(self.train, voices, chance), _variants(self.target, target, chance)]
        draws = [_draws(index, self._voice_draws, chance) for index in (voices, target)]
        raw = _Raw(
            decibel=_own_rows(self.train, variants[0], voices),
            labels=self.train.labels[voices],
            draws=torch.cat([own for drawn in draws if (own := _of_own(drawn)) is not None]),
            target=None if target is None or not self.target else _own_rows(self.target, variants[1], target),
            pixels=None if faces is None or not self.faces else self.faces.pixels[_of_own(faces)],
            faces=None if faces is None or not self.faces else self.faces.labels[faces],
            face_draws=_of_own(_draws(faces, augment.FACE_DRAWS, chance)),
            teacher=self._taught(variants, voices, target),
            keep=self._keep(voices, target, chance),
        )
        return raw.each(Tensor.pin_memory) if self.device.type == "cuda" else raw

    @property
    def _voice_draws(self) -> int:
        return augment.SHIFT_DRAWS + augment.mask_draws(self.config.masks)

    def _taught(self, variants: list[Tensor | None], voices: Tensor, target: Tensor | None) -> Tensor | None:
        """The teacher's logits; it is heard at the speed that the student hears."""
        if self.lessons is None:
            return None
        heard = [self.lessons.voices[variants[0], voices]]
        if self.lessons.target is not None and target is not None:
            heard.append(self.lessons.target[variants[1], target])
        return torch.cat(heard)

    def _keep(self, voices: Tensor, target: Tensor | None, chance: torch.Generator) -> Tensor | None:
        """Which voices get the faces' term."""
        if not self.config.visual_dropout or self.faces is None:
            return None
        n = len(voices) + (0 if target is None else len(target))
        return (torch.rand(n, 1, generator=chance) >= self.config.visual_dropout).float()

    def _batch(self, raw: _Raw) -> Batch:
        """Augmentation, on the device."""
        n = len(raw.decibel)
        others = None if raw.target is None else self._heard(self.target, raw.target, raw.draws[n:])
        images = None
        if raw.pixels is not None:
            images = augment.warp_faces(raw.pixels.float() / 255, draws=raw.face_draws)
        decibel = self._heard(self.train, raw.decibel, raw.draws[:n])
        return Batch(decibel, raw.labels, others, images, raw.faces, raw.teacher, raw.keep)

    def _heard(self, of: Voices | None, rows: Tensor, draws: Tensor) -> Tensor:
        """Augmented log-mels, or maps that frozen stages made of them; features of a frozen backbone stay."""
        assert of is not None
        decibel, config = of.heard(rows), self.config
        if decibel.ndim == 2:
            return decibel
        decibel = augment.time_shift(decibel, draws=draws[:, :1])
        return augment.spec_augment(decibel, config.masks, config.time_mask, config.freq_mask, draws[:, 1:])


def generator(*place: int) -> torch.Generator:
    """The source of chance of a place in a training, such as (seed, epoch, step)."""
    return torch.Generator().manual_seed(seed(*place))


def seed(*place: int) -> int:
    """A number below 2^63 for a place in a training; those of near places have nothing to do with another."""
    digest = hashlib.sha256(" ".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def shared(rows: int) -> int:
    """The most of so many rows that all processes can have the same number of."""
    return rows // distributed.size() * distributed.size()


def _ahead(read: Callable[[int], R], steps: range, device: torch.device) -> Iterator[R]:
    """What `read` gives for each step, read in another thread meanwhile."""

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


def _cycled(of: Faces | Voices | None, wanted: int, chance: torch.Generator) -> Tensor | None:
    """`wanted` indices of faces or voices: whole random permutations, one after another."""
    if of is None:
        return None
    n = len(of.labels)
    return torch.cat([torch.randperm(n, generator=chance) for _ in range(-(-wanted // n))])[:wanted]


def _part(order: Tensor | None, step: int, steps: int) -> Tensor | None:
    return None if order is None else order.view(steps, -1)[step]


def _variants(of: Voices | None, index: Tensor | None, chance: torch.Generator) -> Tensor | None:
    """At which speed each voice is heard."""
    if of is None or index is None:
        return None
    return torch.randint(len(of.decibel), (len(index),), generator=chance)


def _draws(index: Tensor | None, count: int, chance: torch.Generator) -> Tensor | None:
    return None if index is None else torch.rand(len(index), count, generator=chance)


def _of_own(rows: Tensor | None) -> Tensor | None:
    return None if rows is None else rows[distributed.own(len(rows))]


def _own_rows(of: Voices, variants: Tensor | None, index: Tensor) -> Tensor:
    assert variants is not None
    mine = distributed.own(len(index))
    return of.decibel[variants[mine], index[mine]]
