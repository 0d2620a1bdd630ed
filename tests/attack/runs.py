"""Attacks with run folders, checkpoints and weights of strangers."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from tests.attack.attack import attack, check
from tests.attack.command import run_command, survived
from tests.attack.graphs import ESCAPES
from tests.attack.place import Place, recording
from tests.attack.trained import run_folder

_DEEP = "[" * 100_000
_LONG = "9" * 10_000  # digits


class _Writes:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], object], tuple[Path]]:
        return Path.touch, (self._path,)


@attack("refused in a line each")
def damaged_run_folders(place: Place) -> str:
    """Write depth, nulls and numbers of 10,000 digits into each file of a run folder, and run it."""
    damage = {
        "calibration.json": (_DEEP, "null", f'{{"temperature": {_LONG}, "epoch": 1}}'),
        "run.toml": (f"format = {_LONG}", f"classes = {_DEEP}"),
        "config.toml": (f"epochs = {_LONG}",),
    }
    wrong, count = [], 0
    for name, texts in damage.items():
        for text in texts:
            folder = shutil.copytree(run_folder(), place.folder / str(count))
            (folder / name).write_text(text)
            done = run_command(["infer", folder, recording()])
            count += 1
            if not done.refused:
                wrong.append(f"{name}: {done.problem or f'exit code {done.code}'}")
    return check(not wrong, f"{count} files, {wrong or 'all refused'}")


@attack("told in a line each, within 20 s")
def damaged_runs_in_a_list(place: Place) -> str:
    """Damage each file of run folders, and list them."""
    texts = (_DEEP, "null", f'{{"epoch": {_LONG}}}', f"a = {_LONG}", json.dumps({"uar": ESCAPES}), "\0")
    names = ("metrics.json", "epochs.jsonl", "run.toml", "config.toml", "provenance.json")
    for number, (name, text) in enumerate((name, text) for name in names for text in texts):
        folder = shutil.copytree(run_folder(), place.folder / "runs" / str(number))
        (folder / name).write_text(text)
    return survived(
        [run_command(["runs", place.folder / "runs", *words], 30) for words in ([], ["--json"])], 20, 1000
    )


@attack("refused, and nothing is executed")
def pickles(place: Place) -> str:
    """Name pickles, which would write a file when they are read, as checkpoints, weights, models and settings."""
    executed = place.folder / "executed"
    content = pickle.dumps(_Writes(executed))
    names = ("weights.pth", "weights.safetensors", "model.onnx", "settings.toml", "sound.wav", "labels.csv")
    paths = {name: place.folder / name for name in names}
    for path in paths.values():
        path.write_bytes(content)
    folder = shutil.copytree(run_folder(), place.folder / "run")
    (folder / "checkpoint.safetensors").write_bytes(content)
    trains: list[str | Path] = ["train", "--speech", "synthetic:", "--out", place.folder / "out"]
    done = [
        run_command([*trains, "--set", "backbone=mobilenet_v2", "--set", f"weights={paths['weights.pth']}"]),
        run_command(
            [*trains, "--set", "backbone=mobilenet_v2", "--set", f"weights={paths['weights.safetensors']}"]
        ),
        run_command([*trains[:1], paths["settings.toml"], *trains[1:]]),
        run_command(["infer", paths["model.onnx"], recording()]),
        run_command(["infer", folder, recording()]),
        run_command(["data", "scan", f"folder:{paths['labels.csv']}"]),
    ]
    wrong = [one.problem or f"exit code {one.code}" for one in done if not one.refused]
    words = f"{len(done)} pickles, {wrong or 'all refused'}{', EXECUTED' if executed.exists() else ''}"
    return check(not wrong and not executed.exists(), words)


@attack("refused in a line each, within 1500 MB")
def checkpoints_that_promise(place: Place) -> str:
    """Promise, in the head of a checkpoint, 2^63 bytes, tensors beyond the file, depth, and huge shapes."""
    tensor = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    heads = [_DEEP.encode(), json.dumps({"a": tensor}).encode(), b'{"a": ' + _LONG.encode() + b"}"]
    contents = [struct.pack("<Q", len(head)) + head for head in heads] + [struct.pack("<Q", 1 << 63)]
    wrong, most = [], 0.0
    for number, content in enumerate(contents):
        folder = shutil.copytree(run_folder(), place.folder / str(number))
        (folder / "checkpoint.safetensors").write_bytes(content)
        done = run_command(["infer", folder, recording()])
        most = max(most, done.megabytes)
        wrong += [] if done.refused else [done.problem or f"exit code {done.code}"]
    return check(not wrong and most <= 1500, f"{len(contents)} files, {wrong or 'all refused'}; {most:.0f} MB")
