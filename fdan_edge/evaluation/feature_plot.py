"""Features of voices and faces, before the classifier, on a plane by t-SNE (the paper's Fig. 5)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.audio.windows import cut_windows
from fdan_edge.data.corpora import Item, Source, parse_source, read_visual
from fdan_edge.data.labels import training_class
from fdan_edge.data.speech import pick
from fdan_edge.errors import AudioError, DataError
from fdan_edge.evaluation import plots
from fdan_edge.features import extract
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.utils.progress import track

Array = NDArray[np.floating[Any]]

MOST = 400  # of each modality: more hide one another
_PERPLEXITY = 30.0


def draw_features(runner: TorchRunner, voices: list[Item], faces: list[Item], path: Path) -> None:
    """Draw t-SNE of a run's features of voices and faces.

    Both pass the network alone, as voices do on the device, without the other modality's term.

    Args:
        runner: the run.
        voices: recordings; an even choice of 400 at most is drawn.
        faces: the same; none for a run that was trained without.
        path: of the picture, with .png and .svg.

    Raises:
        DataError: there is too little to draw.
    """
    labels = runner.info.classes
    voice_rows, voice_classes = voice_features(runner, pick([v for v in voices if v.emotion in labels], MOST))
    face_rows, face_classes = face_features(runner, pick(faces, MOST))
    points = project(np.concatenate([voice_rows, face_rows]))
    is_face = [False] * len(voice_rows) + [True] * len(face_rows)
    title = (
        f"t-SNE of the features of {'voices and faces' if len(face_rows) else 'voices'}, {runner.config.backbone}"
    )
    plots.features(points, voice_classes + face_classes, is_face, labels, title, path)


def voice_features(runner: TorchRunner, items: list[Item]) -> tuple[Array, list[int]]:
    """Compute the mean of Z_a over the windows of each readable recording, (n, d), and its class."""
    spec, path = runner.spec, runner.path
    rows, classes = [], []
    for item in track(items, "features of voices"):
        try:
            waveform = decode.load_speech(item.path, spec.sample_rate, spec.trim_db, high_pass=spec.high_pass)
        except AudioError:
            continue  # named when it was scored
        windows = torch.from_numpy(cut_windows(waveform, spec.window, spec.window_hop))
        with torch.inference_mode():
            rows.append(path.model.acoustic_features(path.frontend(windows)).mean(dim=0).numpy())
        classes.append(spec.labels.index(item.emotion))
    return _stacked(rows, runner), classes


def face_features(runner: TorchRunner, items: list[Item]) -> tuple[Array, list[int]]:
    """Compute Z_v of each readable face, (m, d), and its class; of a video the face in its middle."""
    if not items:
        return _stacked([], runner), []
    model, labels = runner.path.model, [runner.info.classes.index(item.emotion) for item in items]
    config = replace(runner.config, video_frames=1)  # of a video, else videos would outnumber what is drawn
    faces = extract.load_faces(items, labels, config)
    with torch.inference_mode():
        parts = [model.visual_features(p.float() / 255).numpy() for p in torch.split(faces.pixels[...], 64)]
    return np.concatenate(parts), faces.labels.tolist()


def project(values: Array, seed: int = 0) -> Array:
    """Project features (n, d) to points (n, 2) by t-SNE.

    Raises:
        DataError: fewer than 5 of them.
    """
    from sklearn.manifold import TSNE

    if len(values) < 5:
        raise DataError(f"{len(values)} recordings and faces are too few for a t-SNE; 5 are the least")
    # A third of the points is the most that makes sense: a neighbourhood of all points says nothing.
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return np.asarray(tsne.fit_transform(values))


def faces_of(runner: TorchRunner, sources: list[Source] | None = None) -> list[Item]:
    """Read the faces of the model's classes, none where it was trained without faces.

    Args:
        runner: the run.
        sources: where faces are; the run's own when None.

    Raises:
        DataError: the faces cannot be found.
    """
    if runner.path.model.visual is None:
        return []
    chosen = sources or [parse_source(text) for text in runner.info.faces]
    try:
        items = [item for source in chosen for item in read_visual(source, 1)]
    except DataError as error:
        raise DataError(f"{error}; say with --faces where the faces are") from None
    calm = runner.config.calm_as_neutral
    named = [replace(item, emotion=training_class(item.emotion, calm_as_neutral=calm)) for item in items]
    return [item for item in named if item.emotion in runner.info.classes]


def _stacked(rows: list[Array], runner: TorchRunner) -> Array:
    return np.stack(rows) if rows else np.zeros((0, runner.config.feature_size), np.float32)
