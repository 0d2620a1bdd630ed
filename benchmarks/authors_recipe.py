"""A training step as FDAN's authors describe and publish it, in plain PyTorch: training.py compares ours with it.

The layers and their sizes are those of `fdan_edge.models.fdan.Fdan`, so that only the way of computing differs,
with one exception: the spectrogram comes in as a picture of three equal channels, since the authors give it to an
unchanged torchvision network (ours sums the stem's weights over the channels; some 2 % of the voices' backbone).
What each choice rests on:

- two torchvision backbones at 224x224, SGD with momentum 0.99 and decay 1e-3, batch 32, cross-entropy of both
  modalities + 1e-3 LMMD: the paper, section 3.2 and eq. 9;
- LMMD by N x N x d differences, five exponentials and weights made in numpy; one-hot targets of the voices, the
  target domain, by a Python loop over the label tensor: the authors' published code, and DSAN's, their source;
- `DataLoader` as it is by default (no workers, no pinned memory), `loss.item()` at each step, float32, NCHW, SGD
  as PyTorch chooses its implementation: no setting of theirs says otherwise;
- each file is read whenever its item comes up: librosa to a mel spectrogram to a picture for voices, PIL and
  torchvision's transforms for faces. The paper says what is extracted and not when; with `pictures` the
  spectrograms have been saved as PNG files before, as `ImageFolder` would read them.

Defects of the published code that make it cheaper or another model are not repeated: its attention changes sample
0 of a batch only, and is not trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lmmd_contenders import published
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fdan_edge.config import Config
from fdan_edge.models.backbones.build import build_backbone
from fdan_edge.models.fdan import Fdan
from fdan_edge.models.layers.norm import unfuse

SAMPLE_RATE = 16000  # of the corpora at hand: librosa has nothing to resample
SECONDS = 3.0  # heard of a recording, as our windows are
ALPHA, LR, MOMENTUM, DECAY = 1e-3, 1e-3, 0.99, 1e-3

#: One step's input: faces and voices (n, 3, size, size), class indices of both (n,).
Step = tuple[Tensor, Tensor, Tensor, Tensor]


class Network(nn.Module):
    """Fdan's layers behind two backbones that read pictures."""

    def __init__(self, config: Config, classes: int) -> None:
        super().__init__()
        whole = Fdan(config, classes, faces=True, pretrained=False)
        assert whole.visual is not None
        self.visual = nn.Sequential(whole.visual.backbone, whole.visual.bottleneck)
        self.acoustic = nn.Sequential(build_backbone(config.backbone, None)[0], whole.acoustic.bottleneck)
        self.layers = whole.layers
        self.classifier = whole.classifier
        for module in unfuse(self).modules():  # as torchvision has them
            if isinstance(module, (nn.ReLU, nn.ReLU6)):
                module.inplace = True

    def forward(self, faces: Tensor, voices: Tensor) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """Logits of faces and of voices, (n, C), and (Z_v, Z_a) after each layer."""
        z_visual, z_acoustic = self.visual(faces), self.acoustic(voices)
        aligned = []
        for layer in self.layers:
            z_visual, z_acoustic = layer(z_visual, z_acoustic)
            aligned.append((z_visual, z_acoustic))
        return self.classifier(z_visual), self.classifier(z_acoustic), aligned


class Pictures(Dataset[tuple[Tensor, int]]):
    """Files, as a picture each, normalised as ImageNet's; the label beside it."""

    def __init__(
        self, paths: list[Path], labels: list[int], opened: Callable[[Path], Image.Image], size: int
    ) -> None:
        self.paths, self.labels, self.opened = paths, labels, opened
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        steps = [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(mean, std)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.opened(self.paths[index])), self.labels[index]


def picture(path: Path) -> Image.Image:
    """A face, or a spectrogram that was saved."""
    return Image.open(path).convert("RGB")


def spectrogram(path: Path) -> Image.Image:
    """The log-mel spectrogram of a recording's first seconds, -80..0 dB as grey of three channels."""
    import librosa

    heard, rate = librosa.load(path, sr=SAMPLE_RATE, duration=SECONDS)
    decibel = librosa.power_to_db(librosa.feature.melspectrogram(y=heard, sr=rate), ref=np.max)
    grey: NDArray[np.uint8] = (255 * (decibel + 80) / 80).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def saved(paths: list[Path], folder: Path) -> list[Path]:
    """The spectrograms of recordings as PNG files in a folder."""
    made = [folder / f"{index:05}.png" for index in range(len(paths))]
    for path, file in zip(paths, made, strict=True):
        spectrogram(path).save(file)
    return made


def steps(faces: Pictures, voices: Pictures, batch: int, device: torch.device) -> Iterator[Step]:
    """Batches without end: each loader is begun anew when it is through, as published."""
    loaders = [DataLoader(data, batch, shuffle=True, drop_last=True) for data in (faces, voices)]
    running = [iter(loader) for loader in loaders]
    while True:
        taken: list[Any] = []
        for index, loader in enumerate(loaders):
            batch_of = next(running[index], None)
            if batch_of is None:
                running[index] = iter(loader)
                batch_of = next(running[index])
            taken.append(batch_of)
        (images, y_faces), (spectra, y_voices) = taken
        yield images.to(device), spectra.to(device), y_faces.to(device), y_voices.to(device)


def one_hot_loop(labels: Tensor, classes: int) -> Tensor:
    """One-hot rows, (n, C), entry by entry; reading a label waits for a GPU each time."""
    made = torch.zeros(len(labels), classes, device=labels.device)
    for row in range(len(labels)):
        for c in range(classes):
            if labels[row] == c:
                made[row][c] = 1
    return made


def alignment(aligned: list[tuple[Tensor, Tensor]], y_faces: Tensor, y_voices: Tensor, classes: int) -> Tensor:
    """Sum of LMMD over the layers, before alpha."""
    target = one_hot_loop(y_voices, classes)
    terms = [published(z_v, z_a, y_faces, target.cpu().max(1)[1], classes) for z_v, z_a in aligned]
    return torch.stack(terms).sum()


def loss_of(
    logits: tuple[Tensor, Tensor], aligned: list[tuple[Tensor, Tensor]], y_faces: Tensor, y_voices: Tensor
) -> Tensor:
    """Eq. 9 from the logits of faces and of voices, and (Z_v, Z_a) after each layer."""
    labelled = functional.cross_entropy(logits[0], y_faces) + functional.cross_entropy(logits[1], y_voices)
    return labelled + ALPHA * alignment(aligned, y_faces, y_voices, logits[0].shape[1])


class Recipe:
    """A network and its optimiser, and one step of both."""

    def __init__(self, config: Config, classes: int, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.network = Network(config, classes).to(device).train()
        parameters = self.network.parameters()
        self.optimizer = torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)

    def step(self, given: Step) -> float:
        """One step; the loss."""
        faces, voices, y_faces, y_voices = given
        logits_faces, logits_voices, aligned = self.network(faces, voices)
        loss = loss_of((logits_faces, logits_voices), aligned, y_faces, y_voices)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.item())
