"""One way of training, timed in a process of its own, which training.py starts: training_steps.py MEASURE.json.

Ways: `recipe` is the authors' with its data loading, `pictures` the same with spectrograms saved as PNG files
before, `memory` the same fed from memory; `ours` is the training loop of fdan_edge; `ceiling` is forward and
backward of our two backbones alone, on the same batch again and again, in our memory layout and precision.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from authors_recipe import Pictures, Recipe, picture, saved, spectrogram
from authors_recipe import steps as recipe_steps
from torch import nn

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, parse_source, read
from fdan_edge.data.speech import class_names, read_labelled_speech
from fdan_edge.features import extract
from fdan_edge.features.extract import Faces, Voices
from fdan_edge.models.backbones.build import scaled
from fdan_edge.models.fdan import Fdan
from fdan_edge.training.device import number_format
from fdan_edge.training.optimizer import keep_freed_memory
from fdan_edge.training.trainer import Trainer

WAYS = ("recipe", "pictures", "memory", "ours", "ceiling")
SIZE = 224
#: 3 s at 16 kHz in 224 bands and 224 frames. LMMD counts from the first step on, as the authors' does.
SHAPE = (f"n_mels={SIZE}", "n_fft=2048", "hop=215", f"face_size={SIZE}")
SETTINGS = ("weights=none", "alpha_ramp=0", "epochs=1000")
EPOCH = 32  # steps of an epoch of ours at most, or many recordings would have to be decoded first


@dataclass(frozen=True)
class Measure:
    """What one process measures."""

    way: str
    backbone: str
    speech: str
    faces: str
    steps: int
    warm_up: int
    batch: int = 32
    threads: int = 0
    settings: list[str] = field(default_factory=list)  # of ours and of the ceiling

    def config(self) -> Config:
        sizes = (f"batch_size={self.batch}", f"face_batch_size={self.batch}", f"threads={self.threads}")
        words = [*SHAPE, *SETTINGS, *sizes, f"backbone={self.backbone}", *self.settings]
        return Config.load(None, words)


#: Runs so many steps.
Run = Callable[[int], None]


def measured(measure: Measure) -> dict[str, Any]:
    """Milliseconds per step, and voices + faces per second."""
    if measure.threads:
        torch.set_num_threads(measure.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(measure, device, Path(folder))
        run(measure.warm_up)
        seconds, on_device = timed(run, measure.steps, device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {
        "ms": 1000 * seconds / measure.steps,
        "device_ms": on_device and on_device / measure.steps,
        "samples_per_second": 2 * measure.batch * measure.steps / seconds,
        "peak_mib": peak,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def timed(run: Run, steps: int, device: torch.device) -> tuple[float, float | None]:
    """Seconds by the clock until the device has done it all; on a GPU too the milliseconds between two events."""
    if device.type != "cuda":
        start = time.perf_counter()
        run(steps)
        return time.perf_counter() - start, None
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start = time.perf_counter()
    before.record()
    run(steps)
    after.record()
    torch.cuda.synchronize()
    return time.perf_counter() - start, before.elapsed_time(after)


def prepared(measure: Measure, device: torch.device, folder: Path) -> Run:
    """A way of training, ready to run."""
    config = measure.config()
    voices, faces, classes = items(measure)
    if measure.way in ("ours", "ceiling"):
        read_voices = extract.training_voices(voices, labels(voices, classes), config)
        read_faces = extract.load_faces(faces, labels(faces, classes), config)
        if measure.way == "ceiling":
            return ceiling(config, len(classes), read_voices, read_faces, device)
        trainer = Trainer(config, classes, read_voices, read_voices, read_faces, folder, pretrained=False)
        return lambda steps: our_step(trainer, steps)
    paths = [item.path for item in voices]
    opened = spectrogram
    if measure.way == "pictures":
        paths, opened = saved(paths, folder), picture
    of_voices = Pictures(paths, labels(voices, classes), opened, SIZE)
    of_faces = Pictures([item.path for item in faces], labels(faces, classes), picture, SIZE)
    recipe = Recipe(config, len(classes), device)
    given = recipe_steps(of_faces, of_voices, measure.batch, device)
    if measure.way == "memory":
        given = cycle(list(islice(given, min(measure.steps, 8))))

    def run(steps: int) -> None:
        for one in islice(given, steps):
            recipe.step(one)

    return run


def our_step(trainer: Trainer, steps: int) -> None:
    """So many steps of the training loop, as `train` runs them."""
    trainer.model.train()
    for begun in range(0, steps, trainer.steps):
        for batch in islice(trainer.loader.epoch(trainer.epoch), steps - begun):
            trainer.train_step(batch)
            trainer.running.latest()
        trainer.done = 0


def ceiling(config: Config, classes: int, voices: Voices, faces: Faces, device: torch.device) -> Run:
    """Forward and backward of both backbones, nothing else."""
    keep_freed_memory()
    torch.manual_seed(config.seed)
    model = Fdan(config, classes, faces=True, pretrained=False).to(device).train()
    model.to(memory_format=torch.channels_last)
    assert model.visual is not None
    index = torch.arange(config.batch_size)
    heard = scaled(voices.read(0, index, device)).contiguous(memory_format=torch.channels_last)
    seen = faces.pixels[index].to(device).float().div(255).contiguous(memory_format=torch.channels_last)
    pairs = [(compiled(model.acoustic.backbone, config), heard), (compiled(model.visual.backbone, config), seen)]
    dtype = autocast_type(config, device)

    def run(steps: int) -> None:
        for _ in range(steps):
            model.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext():
                outputs = [network(given) for network, given in pairs]
            torch.autograd.backward([made.float().sum() for made in outputs])

    return run


def compiled(network: nn.Module, config: Config) -> Callable[[torch.Tensor], torch.Tensor]:
    if config.torch_compile == "none":
        return network
    made: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network, mode=config.torch_compile)
    return made


def autocast_type(config: Config, device: torch.device) -> torch.dtype | None:
    """What the ceiling computes in, the same as the training does: None for float32."""
    asked = number_format(config, device)
    return None if asked == torch.float32 else asked


def items(measure: Measure) -> tuple[list[Item], list[Item], list[str]]:
    """As many voices and faces as an epoch needs, always the same ones; and the classes of the speech."""
    voices = read_labelled_speech([parse_source(measure.speech)], calm_as_neutral=True)
    classes = class_names(voices)
    faces = [item for item in read(parse_source(measure.faces), "faces") if item.emotion in classes]
    count = measure.batch * min(EPOCH, max(measure.steps, measure.warm_up))
    for found in (voices, faces):
        random.Random(0).shuffle(found)
    return voices[:count], faces[:count], classes


def labels(found: list[Item], classes: list[str]) -> list[int]:
    return [classes.index(item.emotion) for item in found]


if __name__ == "__main__":
    words = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(measured(Measure(**words))))
