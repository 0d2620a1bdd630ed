"""Items to tensors: log-mels of voices and pixels of faces, computed once and read from the cache."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fdan_edge import audio
from fdan_edge.cache import Made, Maker, Outcome, Store, collect
from fdan_edge.config import Config
from fdan_edge.corpora import Item
from fdan_edge.errors import DataError, one_line
from fdan_edge.frontend import LogMel
from fdan_edge.models.fdan import build_frontend
from fdan_edge.progress import say
from fdan_edge.rows import Part, Rows, joined

_VERSION = 1  # of this module's features, and of what they are made with: raise it when they change
_SOUND = ("sample_rate", "n_fft", "hop", "n_mels", "window", "trim_db")
#: Kind of features -> what of the Config they depend on. What is missing here is served stale from the cache.
_SETTINGS = {
    "training": (*_SOUND, "speed_perturbation", "seed"),
    "evaluation": (*_SOUND, "window_hop"),
    "faces": ("face_size",),
}

#: (waveform, item, config) -> windows, (k, samples)
_Cut = Callable[[audio.Waveform, Item, Config], audio.Waveform]


@dataclass(frozen=True)
class Voices:
    """Log-mels of a list of recordings.

    decibel: float16, (variants, n, 1, mels, frames); variants are the same voices at other speeds.
    labels: class indices, (n,).
    owner: which recording each of the n windows is from, (n,).
    """

    decibel: Tensor | Rows
    labels: Tensor
    owner: Tensor


@dataclass(frozen=True)
class Faces:
    """pixels: uint8, (m, 3, size, size); labels: class indices, (m,)."""

    pixels: Tensor | Rows
    labels: Tensor


@dataclass(frozen=True)
class Crops:
    """Faces of one item: pixels uint8 (k, 3, size, size), and in how many frames no face was found."""

    pixels: NDArray[np.uint8]
    missed: int


def training_voices(items: list[Item], labels: list[int], config: Config, what: str = "training") -> Voices:
    """One random window of every recording at every speed of `speed_perturbation`.

    Which window is chance that comes from the seed and the item's key alone, so that an item's features do not
    depend on what else is in the list. Broken files are reported and left out.

    Raises:
        DataError: no recording is usable.
    """
    parts, kept = _recordings("training", _training_windows, items, labels, config, what)
    decibel = joined(parts).grouped(parts[0].count)
    return Voices(decibel, torch.tensor(kept), torch.arange(len(kept)))


def evaluation_voices(items: list[Item], labels: list[int], config: Config, what: str = "validation") -> Voices:
    """All windows of every recording, cut as inference cuts them. Broken files are reported and left out.

    Raises:
        DataError: no recording is usable.
    """
    parts, kept = _recordings("evaluation", _all_windows, items, labels, config, what)
    owner = _owner(parts)
    return Voices(joined(parts).grouped(1), torch.tensor(kept)[owner], owner)


def load_faces(items: list[Item], labels: list[int], config: Config) -> Faces:
    """The faces in images, each `face_size` wide and high; broken files are reported and left out.

    Raises:
        DataError: no face is usable.
    """
    outcomes = collect(items, lambda: partial(_faces_made, config=config), _store("faces", config), "faces")
    parts, kept = _usable(outcomes, labels)
    missed, found = sum(part.missed for part in parts), sum(part.count for part in parts)
    if missed:
        say(f"no face in {missed} of {missed + found} frames: skipped")
    if not found:
        raise DataError(f"no usable face among {len(items)} files")
    return Faces(joined(parts), torch.tensor(kept)[_owner(parts)])


def face_crops(item: Item, config: Config) -> Crops:
    """The faces of one item.

    Raises:
        DataError: its file is broken.
    """
    size = (config.face_size, config.face_size)
    try:
        with Image.open(item.path) as image:
            resized = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{item.path}: not a readable image: {one_line(error)}") from None
    return Crops(np.asarray(resized).transpose(2, 0, 1)[None], 0)


def class_names(items: list[Item]) -> list[str]:
    """The sorted emotions of the items.

    Raises:
        DataError: fewer than two classes.
    """
    counts = Counter(item.emotion for item in items)
    if len(counts) < 2:
        raise DataError(f"speech of one class only ({', '.join(counts)}): there is nothing to tell apart")
    return sorted(counts)


def _recordings(
    kind: str, cut: _Cut, items: list[Item], labels: list[int], config: Config, what: str
) -> tuple[list[Part], list[int]]:
    """The log-mels of the recordings that are usable, and their labels."""

    def prepare() -> Maker:  # the front end takes a second to build, and nobody needs it for what is cached
        return partial(_log_mels, cut=cut, frontend=build_frontend(config), config=config)

    parts, kept = _usable(collect(items, prepare, _store(kind, config), what), labels)
    if not parts:
        raise DataError(f"no usable recording among {len(items)} files for {what}")
    return parts, kept


def _log_mels(item: Item, cut: _Cut, frontend: LogMel, config: Config) -> Made:
    """Log-mels of the windows that `cut` takes from a recording, float16, (windows, 1, mels, frames)."""
    waveform = audio.load_speech(item.path, config.sample_rate, config.trim_db)
    with torch.inference_mode():
        return Made(frontend(torch.from_numpy(cut(waveform, item, config))).half().numpy())


def _training_windows(waveform: audio.Waveform, item: Item, config: Config) -> audio.Waveform:
    s = config.speed_perturbation
    speeds = (1.0, 1 - s, 1 + s) if s else (1.0,)
    key = int.from_bytes(hashlib.sha256(os.fsencode(item.key)).digest()[:8], "little")
    chance = np.random.default_rng([config.seed, key])
    return np.stack([_random_window(_at_speed(waveform, speed), config, chance) for speed in speeds])


def _all_windows(waveform: audio.Waveform, item: Item, config: Config) -> audio.Waveform:  # noqa: ARG001
    return audio.windows(waveform, config.window, config.window_hop)


def _faces_made(item: Item, config: Config) -> Made:
    crops = face_crops(item, config)
    return Made(crops.pixels, crops.missed)


def _random_window(waveform: audio.Waveform, config: Config, chance: np.random.Generator) -> audio.Waveform:
    spare = len(waveform) - config.window
    if spare <= 0:
        padded: audio.Waveform = audio.windows(waveform, config.window, config.window)[0]
        return padded
    start = int(chance.integers(spare + 1))
    return waveform[start : start + config.window]


def _at_speed(waveform: audio.Waveform, speed: float) -> audio.Waveform:
    """The recording played `speed` times as fast, pitch included, as in Kaldi's speed perturbation."""
    return waveform if speed == 1 else np.asarray(soxr.resample(waveform, speed, 1.0), np.float32)


def _store(kind: str, config: Config) -> Store | None:
    if not config.cache:
        return None
    return Store(kind, {"version": _VERSION, **{name: getattr(config, name) for name in _SETTINGS[kind]}})


def _usable(outcomes: list[Outcome], labels: list[int]) -> tuple[list[Part], list[int]]:
    """The parts and labels of the items that are not broken; the others are reported."""
    _report([str(outcome) for outcome in outcomes if isinstance(outcome, DataError)])
    pairs = [(o, label) for o, label in zip(outcomes, labels, strict=True) if isinstance(o, Part)]
    return [part for part, _ in pairs], [label for _, label in pairs]


def _owner(parts: list[Part]) -> Tensor:
    """Which part each row is of."""
    return torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([part.count for part in parts]))


def _report(broken: list[str], most: int = 10) -> None:
    for line in broken[:most]:
        say(f"left out: {line}")
    if len(broken) > most:
        say(f"left out: {len(broken) - most} more broken files")
