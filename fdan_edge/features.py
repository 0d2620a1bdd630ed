"""Items to tensors: log-mels of voices and pixels of faces, made once and kept in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fdan_edge import audio, video
from fdan_edge.config import Config
from fdan_edge.container import is_video
from fdan_edge.corpora import Item
from fdan_edge.errors import AudioError, DataError, one_line
from fdan_edge.frontend import LogMel
from fdan_edge.progress import say, track


@dataclass(frozen=True)
class Voices:
    """Log-mels of a list of recordings.

    decibel: float16, (variants, n, 1, mels, frames); variants are the same voices at other speeds.
    labels: class indices, (n,).
    owner: which recording each of the n windows is from, (n,).
    """

    decibel: Tensor
    labels: Tensor
    owner: Tensor


@dataclass(frozen=True)
class Faces:
    """pixels: uint8, (m, 3, size, size); labels: class indices, (m,)."""

    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Crops:
    """Faces of one item: pixels uint8 (k, 3, size, size), and in how many frames no face was found."""

    pixels: NDArray[np.uint8]
    missed: int


def load_recordings(items: list[Item], config: Config, what: str) -> tuple[list[Item], list[audio.Waveform]]:
    """Decode and trim recordings; broken files are reported and left out.

    Raises:
        DataError: no recording is usable.
    """
    good: list[Item] = []
    waveforms: list[audio.Waveform] = []
    broken: list[str] = []
    for item in track(items, f"decode {what}"):
        try:
            waveforms.append(audio.load_speech(item.path, config.sample_rate, config.trim_db))
            good.append(item)
        except AudioError as error:
            broken.append(str(error))
    _report(broken)
    if not good:
        raise DataError(f"no usable recording among {len(items)} files for {what}")
    return good, waveforms


def training_voices(
    waveforms: list[audio.Waveform], labels: list[int], frontend: LogMel, config: Config
) -> Voices:
    """One random window of every recording at every speed of `speed_perturbation`."""
    s = config.speed_perturbation
    speeds = (1.0, 1 - s, 1 + s) if s else (1.0,)
    chance = np.random.default_rng(config.seed)
    variants = []
    for speed in speeds:
        cut = [_random_window(_at_speed(w, speed), config, chance) for w in waveforms]
        variants.append(_log_mels(np.stack(cut), frontend, f"log-mel at speed {speed:g}"))
    return Voices(torch.stack(variants), torch.tensor(labels), torch.arange(len(labels)))


def evaluation_voices(
    waveforms: list[audio.Waveform], labels: list[int], frontend: LogMel, config: Config
) -> Voices:
    """All windows of every recording, cut as inference cuts them."""
    cut = [audio.windows(w, config.window, config.window_hop) for w in waveforms]
    owner = torch.repeat_interleave(torch.arange(len(cut)), torch.tensor([len(c) for c in cut]))
    decibel = _log_mels(np.concatenate(cut), frontend, "log-mel")
    return Voices(decibel[None], torch.tensor(labels)[owner], owner)


def load_faces(items: list[Item], labels: list[int], config: Config) -> Faces:
    """The faces of images and videos; broken files and frames without a face are reported and left out."""
    pixels: list[NDArray[np.uint8]] = []
    kept: list[int] = []
    broken: list[str] = []
    searched = missed = 0
    for item, label in track(list(zip(items, labels, strict=True)), "decode faces"):
        try:
            crops = face_crops(item, config)
        except DataError as error:
            broken.append(str(error))
            continue
        pixels.append(crops.pixels)
        kept += [label] * len(crops.pixels)
        missed += crops.missed
        searched += crops.missed + len(crops.pixels) if _is_searched(item) else 0
    _report(broken)
    if missed:
        say(f"no face in {missed} of {searched} frames: skipped")
    if not kept:
        raise DataError(f"no usable face among {len(items)} files")
    return Faces(torch.from_numpy(np.concatenate(pixels)), torch.tensor(kept))


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


def class_names(items: list[Item]) -> list[str]:
    """The sorted emotions of the items.

    Raises:
        DataError: fewer than two classes.
    """
    counts = Counter(item.emotion for item in items)
    if len(counts) < 2:
        raise DataError(f"speech of one class only ({', '.join(counts)}): there is nothing to tell apart")
    return sorted(counts)


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


def _log_mels(windows: audio.Waveform, frontend: LogMel, description: str) -> Tensor:
    device = frontend.mel.weight.device
    batches = torch.split(torch.from_numpy(windows), 64)
    with torch.inference_mode():
        made = [frontend(batch.to(device)).half().cpu() for batch in track(batches, description)]
    return torch.cat(made).clone()


def _report(broken: list[str], most: int = 10) -> None:
    for line in broken[:most]:
        say(f"left out: {line}")
    if len(broken) > most:
        say(f"left out: {len(broken) - most} more broken files")
