"""Bundles, ONNX files and run folders, damaged."""

from __future__ import annotations

import functools
import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from fdan_edge.config import Config, config_to_dict
from fdan_edge.errors import BundleError, CheckpointError, FdanEdgeError
from fdan_edge.evaluation.predictions import Prediction, Predictions, load_predictions
from fdan_edge.runs import index, run_folder
from fdan_edge.runtime import manifest
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.onnx_stream import OnnxFrameRunner, write_front_end
from fdan_edge.runtime.onnx_stream import read_front_end as parse_front_end
from fdan_edge.runtime.typed_json import to_json
from fdan_edge.utils.files import sha256
from tests.fuzz.checks import Finding
from tests.fuzz.mutate import mutate, mutate_value
from tests.fuzz.places import new_folder
from tests.helpers import bundles, tiny_models

_WHERE = "input"


def dumped(rng: random.Random, value: Any) -> bytes:
    """Return JSON of a damaged value, at times damaged itself."""
    text = json.dumps(mutate_value(rng, value), ensure_ascii=rng.random() < 0.5)
    data = text.encode(errors="surrogatepass")
    return mutate(rng, data) if rng.random() < 0.15 else data


def _folder() -> Path:
    return new_folder("models")


@functools.cache
def _manifest() -> dict[str, Any]:
    """Return what a bundle.json says, with everything that may be in it."""
    folder = _folder() / "bundle"
    folder.mkdir()
    names = ("model.onnx", "model.stream.onnx", "model.int8-u8s8.onnx", "model.rtx.engine")
    for name in names:
        (folder / name).write_bytes(name.encode())
    first, stream, int8, plan = (folder / name for name in names)
    comparison = manifest.RangeComparison(0.1, 0.2, 0.9)
    made = bundles.manifest(
        bundles.artifact(first, stream=stream, cost=bundles.graph_cost(bundles.layer_cost("a/b", 10, 4, 4))),
        bundles.artifact(
            int8, "int8", calibration=manifest.Calibration("minmax", {"minmax": comparison}, 3, "a", 8)
        ),
        engines=(bundles.engine(plan, first),),
        versions={"torch": "2"},
        files={path.name: manifest.FileEntry(sha256(path), path.stat().st_size) for path in folder.iterdir()},
    )
    return {"schema": manifest.SCHEMA, **to_json(made)}


def make_manifest(rng: random.Random) -> bytes:
    """Return a damaged bundle.json, nearly always with a digest that fits."""
    try:
        data = manifest.canonical(mutate_value(rng, _manifest()))
    except (ValueError, TypeError, AttributeError):  # no JSON has it, or it is no table
        return dumped(rng, _manifest())
    return mutate(rng, data) if rng.random() < 0.1 else data


def read_manifest(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read a bundle.json; one that is accepted can be written and read again."""
    read = manifest.read(data, _WHERE)
    if manifest.write(read, _WHERE) != data and manifest.read(manifest.write(read, _WHERE), _WHERE) != read:
        raise Finding("what was read is written as something else")


def make_spec(rng: random.Random) -> bytes:
    """Return damaged metadata of a model."""
    return dumped(rng, tiny_models.SPEC.to_dict() | {"info": {"uar": 0.5}, "high_pass": 80.0})


def read_spec(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read metadata of a model; what is accepted can be written again."""
    spec = ModelSpec.from_json(data.decode(errors="surrogateescape"), _WHERE)
    if not (spec.labels and spec.window > 0 and spec.window_hop > 0 and spec.sample_rate > 0):
        raise Finding("a size of nothing")
    ModelSpec.from_json(spec.to_json(), _WHERE)


def make_front_end(rng: random.Random) -> bytes:
    """Return damaged metadata of a front end."""
    return dumped(rng, json.loads(write_front_end(tiny_models.FRONT_END)))


def read_front_end(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read metadata of a front end."""
    front_end = parse_front_end(data.decode(errors="surrogateescape"), tiny_models.SPEC.window, _WHERE)
    if not np.isfinite(front_end.filters).all() or front_end.filters.shape[1] != 1 + front_end.n_fft // 2:
        raise Finding("filters that cannot be used")


@functools.cache
def _graphs() -> tuple[bytes, bytes]:
    folder = _folder()
    files = tiny_models.model(folder / "model.onnx"), tiny_models.stream_model(folder / "model.stream.onnx")
    return files[0].read_bytes(), files[1].read_bytes()


def make_onnx(rng: random.Random) -> bytes:
    """Return a damaged graph."""
    graph, stream = _graphs()
    return mutate(rng, graph, [stream]) if rng.random() < 0.5 else mutate(rng, stream, [graph])


def read_onnx(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Open a graph as that of a bundle, and as that of a live stream; one that opens can be run."""
    path = _folder() / "input.onnx"
    path.write_bytes(data)
    try:
        with OnnxRunner(path, threads=1) as runner:
            if runner.spec.window < 1 << 20:
                runner.predict(np.zeros((1, runner.spec.window), np.float32))
    except BundleError:
        with OnnxFrameRunner(path, threads=1) as frames:
            frames.predict_power(np.zeros((1, len(frames.frontend.filters), frames.frontend.frames), np.float32))


@functools.cache
def _run_files() -> dict[str, bytes]:
    """Return the small files of a run folder, by name."""
    info: dict[str, Any] = {"classes": ["angry", "sad"], "speech": ["ravdess:/r"], "faces": [], "target": []}
    info |= {"protocol": "speakers", "versions": {"torch": "2"}, "audit": "clean", "teacher": {}}
    names = {"format": run_folder.FORMAT, **vars(run_folder.RunInfo(**info))}
    epoch = {"epoch": 1, "val_uar": 0.5, "val_loss": 0.7, "seconds": 2.0, "rate": 80.0, "skipped": 1}
    session = {"date": "2026-11-22T06:41:44+00:00", "commit": "abcdef0123", "dirty": False}
    session |= {"versions": {"torch": "2"}, "machine": {"processor": "a"}}
    history = {"data": {"speech": {"count": 5, "sha256": "1"}}, "sessions": [session]}
    scores = {"val": {"uar": 0.3}, "test": {"uar": 0.5, "intervals": {"uar": [0.4, 0.6]}}, "best_epoch": 1}
    split = {"train": ["a/1"], "val": ["a/2"], "test": ["a/3"], "speakers": ["s"], "texts": [], "target": []}
    rows = Predictions(["angry", "sad"], [Prediction("a/3", "sad", "s", [0.4, 0.6])])
    rows.save(_folder() / "predictions.json")
    tables = {"metrics.json": scores, "split.json": split, "provenance.json": history}
    tables |= {"calibration.json": {"temperature": 1.2, "epoch": 1}, "epochs.jsonl": epoch}
    return {
        "config.toml": tomli_w.dumps(config_to_dict(Config())).encode(),
        "run.toml": tomli_w.dumps({name: value for name, value in names.items() if value is not None}).encode(),
        "predictions.json": (_folder() / "predictions.json").read_bytes(),
        **{name: json.dumps(values).encode() for name, values in tables.items()},
    }


def make_run(rng: random.Random) -> bytes:
    """Return the name of one file of a run folder, a new line, and its damaged content."""
    name = rng.choice(list(_run_files()))
    return name.encode() + b"\n" + _damaged_file(rng, name, _run_files()[name])


def _damaged_file(rng: random.Random, name: str, data: bytes) -> bytes:
    if rng.random() < 0.3:
        return mutate(rng, data)
    if not name.endswith(".toml"):
        return dumped(rng, json.loads(data))
    try:
        return tomli_w.dumps(mutate_value(rng, _toml(data))).encode()
    except (TypeError, ValueError, AttributeError):  # TOML has no null, and it must be a table
        return mutate(rng, data)


def _toml(data: bytes) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(data.decode())


def read_run(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read a run folder in every way that there is; each of them may refuse it."""
    name, _, content = data.partition(b"\n")
    folder = _run_folder()
    sound = _run_files()
    if name.decode() not in sound:
        return
    path = folder / name.decode()
    path.write_bytes(content)
    try:
        _read_all(folder)
    finally:
        path.write_bytes(sound[path.name])


def _read_all(folder: Path) -> None:
    row = index.read_run(folder, "a")
    index.sort_runs([row, row], "uar")
    index.differing([row, row])
    index.data_letters([row, row])
    json.dumps(row.to_dict(), allow_nan=True)
    refused: FdanEdgeError | None = CheckpointError(row.problem) if row.problem else None
    for read in (
        lambda: run_folder.load_run(folder),
        lambda: run_folder.load_split(folder),
        lambda: run_folder.load_calibration(folder, 1),
        lambda: load_predictions(folder / "predictions.json"),
    ):
        try:
            read()
        except CheckpointError as error:
            refused = error
    if refused:
        raise refused


@functools.cache
def _run_folder() -> Path:
    folder = _folder() / "run"
    folder.mkdir()
    for name, data in _run_files().items():
        (folder / name).write_bytes(data)
    return folder


@functools.cache
def _checkpoint() -> bytes:
    path = _folder() / "sound.safetensors"
    tensors = {"a.weight": torch.ones(3, 2), "b": torch.arange(4), "c": torch.zeros(0, 5)}
    run_folder.save_tensors(path, tensors, {"epoch": 1, "faces": False})
    return path.read_bytes()


def make_checkpoint(rng: random.Random) -> bytes:
    """Return a damaged checkpoint; of most the header is still JSON of the right length."""
    data = _checkpoint()
    if rng.random() < 0.4:
        return mutate(rng, data)
    size = struct.unpack("<Q", data[:8])[0]
    header = json.dumps(mutate_value(rng, json.loads(data[8 : 8 + size]))).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def read_checkpoint(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read a checkpoint."""
    path = _folder() / "input.safetensors"
    path.write_bytes(data)
    run_folder.load_tensors(path)
