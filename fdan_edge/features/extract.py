"""From items to tensors: log-mels or encodings of voices, and pixels of faces, computed once and cached."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fdan_edge.audio import decode
from fdan_edge.audio.video import is_video
from fdan_edge.audio.windows import Waveform, cut_windows
from fdan_edge.config import Config
from fdan_edge.data import face_crops, pictures
from fdan_edge.data.corpora import Item
from fdan_edge.errors import AudioError, DataError
from fdan_edge.features.copies import Copy, copies_elsewhere, load_copy, surroundings_key
from fdan_edge.features.mmap_rows import ItemRows, MappedRows, concatenate
from fdan_edge.features.store import Extractor, Features, Result, Store, collect
from fdan_edge.models.backbones.build import scaled
from fdan_edge.models.backbones.staged import StagedBackbone
from fdan_edge.models.fdan import build_frontend
from fdan_edge.models.log_mel import LogMel

log = logging.getLogger(__name__)

_VERSION = 4  # of this module's features, and of all that they are computed with: raise it when they change
_LOG_MEL = ("sample_rate", "n_fft", "hop", "n_mels", "dynamic_range", "level", "channel")
_SOUND = (*_LOG_MEL, "window", "trim_db", "high_pass")
#: Kind of features -> the settings that they depend on. One that is missing here gives stale features.
_SETTINGS = {
    "training": (*_SOUND, "speed_perturbation", "seed"),
    "evaluation": (*_SOUND, "window_hop"),
    "faces": ("face_size", "video_frames"),
}
#: Values that change nothing of the cached features, and are left out of their key.
_UNCHANGED = {"high_pass": (0,), "dynamic_range": (80,), "level": ("peak",), "channel": ("none", "match")}

#: Log-mels in dB, (n, 1, mels, frames), to ones of the same shape; see `channel.ChannelMatch`.
Transform: TypeAlias = Callable[[Tensor], Tensor]

#: (item, config) -> the speech of a recording, (n,)
_Load: TypeAlias = Callable[[Item, Config], Waveform]
#: (waveform, item, config) -> windows, (k, samples)
_Cut: TypeAlias = Callable[[Waveform, Item, Config], Waveform]


@dataclass(frozen=True)
class Voices:
    """Log-mels of a list of recordings, or the output of a frozen encoder.

    decibel: float16, (variants, n, 1, mels, frames); variants are the same voices at other speeds and in other
        places. With an encoder the output of its frozen stages, float16, (variants, n, channels, height, width),
        or of whisper_tiny float32, (variants, n, width).
    labels: class indices, (n,).
    owner: index of the recording that each window is of, (n,).
    match: applied to log-mels when they are read; to encodings it was applied before.
    known: which classes the corpus of each has, bool, (n, C); None: all.
    drawn: how often each is drawn in an epoch, (n,), 1 on average; None: once.
    """

    decibel: Tensor | MappedRows
    labels: Tensor
    owner: Tensor
    match: Transform | None = None
    known: Tensor | None = None
    drawn: Tensor | None = None

    def read(self, variant: int | Tensor, index: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Read windows as the network gets them, float32: (n, 1, mels, frames), or encodings."""
        return self.as_input(self.decibel[variant, index].to(device))

    def as_input(self, rows: Tensor) -> Tensor:
        """Turn rows of `decibel` into the input of the network, float32."""
        values = rows.float()
        return self.match(values) if self.match else values


@dataclass(frozen=True)
class Faces:
    """pixels: uint8, (m, 3, size, size); labels: class indices, (m,)."""

    pixels: Tensor | MappedRows
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
    match: Transform | None = None,
    match_key: str = "",
    encoder: StagedBackbone | None = None,
) -> Voices:
    """Extract one random window of every recording, at every speed and in every copy that the settings ask for.

    The window is drawn from the seed and the item's key alone: an item's features do not depend on what else is in
    the list. Broken files are reported and left out.

    Args:
        items: the recordings.
        labels: their class indices.
        config: the settings.
        what: which recordings these are, for messages.
        match: applied to the log-mels before they are encoded, or when they are read.
        match_key: what `match` depends on, for the cache of encodings.
        encoder: frozen stages of the backbone; None: log-mels are wanted.

    Raises:
        DataError: no recording is usable.
    """
    encoding = _Encoding.of(encoder, match, match_key)
    parts, kept = _recordings("training", training_windows, items, labels, config, what, encoding)
    decibel = concatenate(parts).grouped(parts[0].count)
    return Voices(decibel, torch.tensor(kept), torch.arange(len(kept)), None if encoding else match)


def evaluation_voices(
    items: list[Item],
    labels: list[int],
    config: Config,
    what: str = "validation",
    match: Transform | None = None,
    match_key: str = "",
    encoder: StagedBackbone | None = None,
    copy: Copy | None = None,
) -> Voices:
    """Extract all windows of every recording, cut as inference cuts them; otherwise as `training_voices`.

    With a `copy` of each of them instead; a recording of which nothing is left is left out without a word.
    """
    encoding = _Encoding.of(encoder, match, match_key)
    parts, kept = _recordings("evaluation", _all_windows, items, labels, config, what, encoding, copy)
    owner = _owner(parts)
    return Voices(concatenate(parts).grouped(1), torch.tensor(kept)[owner], owner, None if encoding else match)


def load_faces(items: list[Item], labels: list[int], config: Config) -> Faces:
    """Extract the faces of images and videos, each `face_size` wide and high.

    Broken files and frames without a face are reported and left out.

    Raises:
        DataError: no face is usable.
    """
    results = collect(
        items, lambda: partial(_face_features, config=config), feature_store("faces", config), "faces"
    )
    parts, kept = _usable(results, labels)
    searched = [
        r for item, r in zip(items, results, strict=True) if isinstance(r, ItemRows) and _is_searched(item)
    ]
    if missed := sum(part.missed for part in searched):
        frames = missed + sum(part.count for part in searched)
        log.warning(f"no face in {missed} of {frames} frames: skipped")
    if not any(part.count for part in parts):
        raise DataError(f"no usable face among {len(items)} files")
    return Faces(concatenate(parts), torch.tensor(kept)[_owner(parts)])


def crop_faces(item: Item, config: Config) -> Crops:
    """Cut out the faces of one item: those found in frames of a video or clip, or a picture of a face as it is.

    Raises:
        DataError: the file is missing, damaged or of another kind.
        MissingDependencyError: a video or frame, and PyAV or OpenCV is not installed.
    """
    size = config.face_size
    if not _is_searched(item):
        return Crops(_picture(item, size).transpose(2, 0, 1)[None], 0)
    frames = face_crops.sample_frames(item.path, config.video_frames) if is_video(item.path) else [_picture(item)]
    crops = [crop for frame in frames if (crop := face_crops.crop_face(frame, size)) is not None]
    pixels = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
    return Crops(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), len(frames) - len(crops))


def _is_searched(item: Item) -> bool:
    """Tell whether the face is only a part of the item's picture."""
    return is_video(item.path) or item.clip is not None


def _picture(item: Item, size: int | None = None) -> NDArray[np.uint8]:
    """Read the RGB pixels of an image, (height, width, 3), resized where a size is given."""
    with pictures.opened(item.path) as image:
        rgb = image.convert("RGB")
        return np.array(rgb.resize((size, size), Image.Resampling.BILINEAR) if size else rgb)


@dataclass(frozen=True)
class _Encoding:
    """The frozen stages that log-mels pass before they are cached."""

    encoder: StagedBackbone
    match: Transform | None  # applied to the log-mels first
    key: dict[str, Any]  # all that the encodings depend on beside the log-mels' settings

    @classmethod
    def of(cls, encoder: StagedBackbone | None, match: Transform | None, match_key: str) -> _Encoding | None:
        """Build the encoding; None where the log-mels themselves are wanted."""
        if bool(match) != bool(match_key):
            raise ValueError("match and match_key go together: the key tells the cache which match it was")
        if encoder is None:
            return None
        return cls(encoder, match, {**encoder.cache_key(), "match": match_key})

    def __call__(self, decibel: Tensor) -> Tensor:
        """Encode (n, 1, mels, frames) as (n, channels, height, width) or (n, width)."""
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
    copy: Copy | None = None,
) -> tuple[list[ItemRows], list[int]]:
    """Collect log-mels or encodings of the recordings that are usable, and their labels."""

    def prepare() -> Extractor:  # the front end takes a second to build, and is not needed for what is cached
        load = partial(load_copy, copy=copy) if copy else _load
        extract = partial(voice_features, cut=cut, frontend=build_frontend(config), config=config, load=load)
        return partial(extract, encoding=encoding)

    store = feature_store(kind, config, encoding.key if encoding else None, copy)
    parts, kept = _usable(collect(items, prepare, store, what), labels, told=copy is None)
    if not parts:
        raise DataError(f"no usable recording among {len(items)} files for {what}")
    return parts, kept


def _load(item: Item, config: Config) -> Waveform:
    return decode.load_speech(item.path, config.sample_rate, config.trim_db, high_pass=config.high_pass)


def voice_features(
    item: Item,
    cut: _Cut,
    frontend: LogMel,
    config: Config,
    encoding: _Encoding | None = None,
    load: _Load = _load,
) -> Features:
    """Compute log-mels or encodings of the windows that `cut` takes from a recording, as `Voices` has them."""
    waveform = load(item, config)
    with torch.inference_mode():
        decibel = frontend(torch.from_numpy(cut(waveform, item, config)))
        values = encoding(decibel) if encoding else decibel
        # Whisper's stay float32: normalised, float16's steps would be up to 4 % of a feature's standard deviation.
        return Features((values if values.ndim == 2 else values.half()).numpy())


def training_windows(waveform: Waveform, item: Item, config: Config) -> Waveform:
    """Draw windows of a recording, (variants, samples), seeded by its name.

    There is one at each of the training's speeds, and one of each copy in other surroundings.
    """
    s = config.speed_perturbation
    speeds = (1.0, 1 - s, 1 + s) if s else (1.0,)
    key = int.from_bytes(hashlib.sha256(os.fsencode(item.key)).digest()[:8], "little")
    rng = np.random.default_rng([config.seed, key])
    variants = [_at_speed(waveform, speed) for speed in speeds]
    variants += [_copy_or(waveform, item, config, copy) for copy in copies_elsewhere(config)]
    return np.stack([_random_window(variant, config, rng) for variant in variants])


def _copy_or(waveform: Waveform, item: Item, config: Config, copy: Copy) -> Waveform:
    """Load a copy; the recording itself where nothing is left of it."""
    try:
        return load_copy(item, config, copy)
    except AudioError:
        return waveform


def _all_windows(waveform: Waveform, item: Item, config: Config) -> Waveform:  # noqa: ARG001
    return cut_windows(waveform, config.window, config.window_hop)


def _face_features(item: Item, config: Config) -> Features:
    crops = crop_faces(item, config)
    return Features(crops.pixels, crops.missed)


def _random_window(waveform: Waveform, config: Config, rng: np.random.Generator) -> Waveform:
    spare = len(waveform) - config.window
    if spare <= 0:
        padded: Waveform = cut_windows(waveform, config.window, config.window)[0]
        return padded
    start = int(rng.integers(spare + 1))
    return waveform[start : start + config.window]


def _at_speed(waveform: Waveform, speed: float) -> Waveform:
    """Play the recording `speed` times as fast, pitch included, as in Kaldi's speed perturbation."""
    return waveform if speed == 1 else np.asarray(soxr.resample(waveform, speed, 1.0), np.float32)


def feature_store(
    kind: str, config: Config, encoding: dict[str, Any] | None = None, copy: Copy | None = None
) -> Store | None:
    """Open the cache of one kind of features; None where `cache` is off.

    Args:
        kind: training, evaluation or faces.
        config: the settings, of which some decide which cache it is.
        encoding: all that encodings depend on beside the settings; None: log-mels.
        copy: of the recordings; None: of themselves.
    """
    if not config.cache:
        return None
    values = {name: getattr(config, name) for name in _SETTINGS[kind]}
    named = {name: value for name, value in values.items() if value not in _UNCHANGED.get(name, ())}
    kind, key = (copy.kind, copy.key) if copy else (kind, {})
    if kind == "training":
        key = surroundings_key(config)
    named = {"version": _VERSION, **named, **key, **(encoding or {})}
    return Store(f"encoded{kind}" if encoding else kind, named)


def _usable(results: list[Result], labels: list[int], *, told: bool = True) -> tuple[list[ItemRows], list[int]]:
    """Return the rows and labels of the items that are not broken; report the others where `told`."""
    _report([str(result) for result in results if isinstance(result, DataError)] if told else [])
    pairs = [(r, label) for r, label in zip(results, labels, strict=True) if isinstance(r, ItemRows)]
    return [part for part, _ in pairs], [label for _, label in pairs]


def _owner(parts: list[ItemRows]) -> Tensor:
    """Return the index of the item that each row is of."""
    return torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([part.count for part in parts]))


def _report(broken: list[str], most: int = 10) -> None:
    for line in broken[:most]:
        log.warning(f"left out: {line}")
    if len(broken) > most:
        log.warning(f"left out: {len(broken) - most} more broken files")
