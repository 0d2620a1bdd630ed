"""Items to tensors: log-mels of voices and pixels of faces, made once and kept in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from PIL import Image
from torch import Tensor

from fdan_edge import audio
from fdan_edge.config import Config
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
    """Decode face images to `face_size`; broken files are reported and left out."""
    pixels, kept, broken = [], [], []
    size = (config.face_size, config.face_size)
    for item, label in track(list(zip(items, labels, strict=True)), "decode faces"):
        try:
            with Image.open(item.path) as image:
                resized = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
                pixels.append(torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1))
            kept.append(label)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            broken.append(f"{item.path}: not a readable image: {one_line(error)}")
    _report(broken)
    if not kept:
        raise DataError(f"no usable face among {len(items)} files")
    return Faces(torch.stack(pixels), torch.tensor(kept))


def class_names(items: list[Item]) -> list[str]:
    """The sorted emotions of the items.

    Raises:
        DataError: fewer than two classes.
    """
    counts = Counter(item.emotion for item in items)
    if len(counts) < 2:
        raise DataError(f"speech of one class only ({', '.join(counts)}): there is nothing to tell apart")
    return sorted(counts)


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
