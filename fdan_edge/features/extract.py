"""Items to tensors: log-mels or encodings of voices, and pixels of faces, computed once and kept in the cache."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fdan_edge.audio import decode
from fdan_edge.audio.video import is_video
from fdan_edge.config import Config
from fdan_edge.data import face_crops as video
from fdan_edge.data.corpora import Item
from fdan_edge.errors import DataError, one_line
from fdan_edge.features.mmap_rows import Part, Rows, joined
from fdan_edge.features.store import Made, Maker, Outcome, Store, collect
from fdan_edge.models.backbones.registry import Encoder, scaled
from fdan_edge.models.fdan import build_frontend
from fdan_edge.models.layers.frozen import Frozen
from fdan_edge.models.log_mel import LogMel

log = logging.getLogger(__name__)

_VERSION = 1  # of this module's features, and of what they are made with: raise it when they change
_SOUND = ("sample_rate", "n_fft", "hop", "n_mels", "window", "trim_db", "level", "channel")
#: Kind of features -> what of the Config they depend on. What is missing here is served stale from the cache.
_SETTINGS = {
    "training": (*_SOUND, "speed_perturbation", "seed"),
    "evaluation": (*_SOUND, "window_hop"),
    "faces": ("face_size", "video_frames"),
}
#: Values that leave the features as they were before there was the setting: caches of then are still good.
_UNCHANGED = {"level": ("peak",), "channel": ("none", "match")}

#: Log-mels in dB, (n, 1, mels, frames), to ones of the same shape.
Match = Callable[[Tensor], Tensor]

#: (waveform, item, config) -> windows, (k, samples)
_Cut = Callable[[decode.Waveform, Item, Config], decode.Waveform]


@dataclass(frozen=True)
class Voices:
    """Log-mels of a list of recordings, or what a frozen encoder gives of them.

    decibel: float16, (variants, n, 1, mels, frames); variants are the same voices at other speeds. Where the
        configuration `is_encoded`: what its frozen stages give, float16, (variants, n, channels, height, width),
        or of whisper_tiny float32, (variants, n, width).
    labels: class indices, (n,).
    owner: which recording each of the n windows is from, (n,).
    match: what log-mels pass when they are read; encodings have passed it before.
    """

    decibel: Tensor | Rows
    labels: Tensor
    owner: Tensor
    match: Match | None = None

    def read(self, variant: int | Tensor, index: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Windows as a network gets them, float32: (n, 1, mels, frames), or what frozen stages made of them."""
        return self.heard(self.decibel[variant, index].to(device))

    def heard(self, rows: Tensor) -> Tensor:
        """Rows of `decibel` as a network gets them, float32."""
        picked = rows.float()
        return self.match(picked) if self.match else picked


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


def training_voices(
    items: list[Item],
    labels: list[int],
    config: Config,
    what: str = "training",
    match: Match | None = None,
    match_key: str = "",
    encoder: Encoder | None = None,
) -> Voices:
    """One random window of every recording at every speed of `speed_perturbation`.

    Which window is chance that comes from the seed and the item's key alone, so that an item's features do not
    depend on what else is in the list. Broken files are reported and left out.

    Args:
        items: the recordings.
        labels: their class indices.
        config: the settings.
        what: for people.
        match: applied to the log-mels before they are encoded, or when they are read.
        match_key: what `match` depends on, for the cache of encodings.
        encoder: of `frozen_encoder`; None: log-mels are wanted.

    Raises:
        DataError: no recording is usable.
    """
    encoding = _Encoding.of(encoder, match, match_key)
    parts, kept = _recordings("training", _training_windows, items, labels, config, what, encoding)
    decibel = joined(parts).grouped(parts[0].count)
    return Voices(decibel, torch.tensor(kept), torch.arange(len(kept)), None if encoding else match)


def evaluation_voices(
    items: list[Item],
    labels: list[int],
    config: Config,
    what: str = "validation",
    match: Match | None = None,
    match_key: str = "",
    encoder: Encoder | None = None,
) -> Voices:
    """All windows of every recording, cut as inference cuts them. Else as `training_voices`."""
    encoding = _Encoding.of(encoder, match, match_key)
    parts, kept = _recordings("evaluation", _all_windows, items, labels, config, what, encoding)
    owner = _owner(parts)
    return Voices(joined(parts).grouped(1), torch.tensor(kept)[owner], owner, None if encoding else match)


def load_faces(items: list[Item], labels: list[int], config: Config) -> Faces:
    """The faces of images and videos, each `face_size` wide and high.

    Broken files and frames without a face are reported and left out.

    Raises:
        DataError: no face is usable.
    """
    outcomes = collect(items, lambda: partial(_faces_made, config=config), _store("faces", config), "faces")
    parts, kept = _usable(outcomes, labels)
    searched = [o for item, o in zip(items, outcomes, strict=True) if isinstance(o, Part) and _is_searched(item)]
    if missed := sum(part.missed for part in searched):
        frames = missed + sum(part.count for part in searched)
        log.warning(f"no face in {missed} of {frames} frames: skipped")
    if not any(part.count for part in parts):
        raise DataError(f"no usable face among {len(items)} files")
    return Faces(joined(parts), torch.tensor(kept)[_owner(parts)])


def face_crops(item: Item, config: Config) -> Crops:
    """The faces of one item: those found in frames of a video or clip, or a picture of a face as it is.

    Raises:
        DataError: the file is missing, damaged or of another kind.
        MissingDependencyError: a video or frame, and PyAV or OpenCV is not installed.
    """
    size = config.face_size
    if not _is_searched(item):
        return Crops(_picture(item, size).transpose(2, 0, 1)[None], 0)
    frames = video.sample_frames(item.path, config.video_frames) if is_video(item.path) else [_picture(item)]
    found = [crop for frame in frames if (crop := video.crop_face(frame, size)) is not None]
    pixels = np.stack(found) if found else np.zeros((0, size, size, 3), np.uint8)
    return Crops(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), len(frames) - len(found))


def _is_searched(item: Item) -> bool:
    """Whether a face is but a part of the item's picture."""
    return is_video(item.path) or item.clip is not None


def _picture(item: Item, size: int | None = None) -> NDArray[np.uint8]:
    """The RGB pixels of an image, (height, width, 3), resized where a size is given."""
    try:
        with Image.open(item.path) as image:
            made = image.convert("RGB")
            return np.array(made.resize((size, size), Image.Resampling.BILINEAR) if size else made)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{item.path}: not a readable image: {one_line(error)}") from None


@dataclass(frozen=True)
class _Encoding:
    """What frozen stages make of log-mels; made once for all recordings."""

    encoder: Encoder
    match: Match | None
    key: dict[str, Any]  # all that the encodings depend on beside the log-mels' settings

    @classmethod
    def of(cls, encoder: Encoder | None, match: Match | None, match_key: str) -> _Encoding | None:
        """None where the log-mels themselves are wanted."""
        if bool(match) != bool(match_key):
            raise ValueError("match and match_key go together: the key tells the cache which match it was")
        if encoder is None:
            return None
        if isinstance(encoder, Frozen):
            stages = {"frozen_stages": encoder.frozen_stages}
        else:
            stages = {"encoder_layers": len(encoder.layers)}
        return cls(encoder, match, {**stages, "weights": encoder.digest(), "match": match_key})

    def __call__(self, decibel: Tensor) -> Tensor:
        """(n, 1, mels, frames) -> (n, channels, height, width) or (n, width)."""
        device = next(self.encoder.parameters()).device
        return self.encoder.encode(scaled(self.match(decibel) if self.match else decibel).to(device)).cpu()


def _recordings(
    kind: str,
    cut: _Cut,
    items: list[Item],
    labels: list[int],
    config: Config,
    what: str,
    encoding: _Encoding | None,
) -> tuple[list[Part], list[int]]:
    """The log-mels or encodings of the recordings that are usable, and their labels."""

    def prepare() -> Maker:  # the front end takes a second to build, and nobody needs it for what is cached
        return partial(_heard, cut=cut, frontend=build_frontend(config), config=config, encoding=encoding)

    store = _store(kind, config, encoding.key if encoding else None)
    parts, kept = _usable(collect(items, prepare, store, what), labels)
    if not parts:
        raise DataError(f"no usable recording among {len(items)} files for {what}")
    return parts, kept


def _heard(item: Item, cut: _Cut, frontend: LogMel, config: Config, encoding: _Encoding | None = None) -> Made:
    """Log-mels or encodings of the windows that `cut` takes from a recording, as `Voices` has them."""
    waveform = decode.load_speech(item.path, config.sample_rate, config.trim_db)
    with torch.inference_mode():
        decibel = frontend(torch.from_numpy(cut(waveform, item, config)))
        made = encoding(decibel) if encoding else decibel
        # Whisper's stay float32: the normalisation makes float16's steps up to 4 % of a feature's deviation.
        return Made((made if made.ndim == 2 else made.half()).numpy())


def _training_windows(waveform: decode.Waveform, item: Item, config: Config) -> decode.Waveform:
    s = config.speed_perturbation
    speeds = (1.0, 1 - s, 1 + s) if s else (1.0,)
    key = int.from_bytes(hashlib.sha256(os.fsencode(item.key)).digest()[:8], "little")
    chance = np.random.default_rng([config.seed, key])
    return np.stack([_random_window(_at_speed(waveform, speed), config, chance) for speed in speeds])


def _all_windows(waveform: decode.Waveform, item: Item, config: Config) -> decode.Waveform:  # noqa: ARG001
    return decode.windows(waveform, config.window, config.window_hop)


def _faces_made(item: Item, config: Config) -> Made:
    crops = face_crops(item, config)
    return Made(crops.pixels, crops.missed)


def _random_window(waveform: decode.Waveform, config: Config, chance: np.random.Generator) -> decode.Waveform:
    spare = len(waveform) - config.window
    if spare <= 0:
        padded: decode.Waveform = decode.windows(waveform, config.window, config.window)[0]
        return padded
    start = int(chance.integers(spare + 1))
    return waveform[start : start + config.window]


def _at_speed(waveform: decode.Waveform, speed: float) -> decode.Waveform:
    """The recording played `speed` times as fast, pitch included, as in Kaldi's speed perturbation."""
    return waveform if speed == 1 else np.asarray(soxr.resample(waveform, speed, 1.0), np.float32)


def _store(kind: str, config: Config, encoding: dict[str, Any] | None = None) -> Store | None:
    if not config.cache:
        return None
    values = {name: getattr(config, name) for name in _SETTINGS[kind]}
    named = {name: value for name, value in values.items() if value not in _UNCHANGED.get(name, ())}
    return Store(f"encoded{kind}" if encoding else kind, {"version": _VERSION, **named, **(encoding or {})})


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
        log.warning(f"left out: {line}")
    if len(broken) > most:
        log.warning(f"left out: {len(broken) - most} more broken files")
