"""Run folders: written whole, read with one clear line about what is wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fdan_edge.config import Config
from fdan_edge.errors import CheckpointError
from fdan_edge.runs import run_folder as checkpoint
from fdan_edge.runs.run_folder import (
    RunInfo,
    load_calibration,
    load_model,
    load_run,
    load_split,
    load_tensors,
    save_calibration,
    save_run,
    save_tensors,
    sole_writer,
)
from tests.conftest import TINY

WEIGHTS = "checkpoint.safetensors"


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    left_out = shutil.ignore_patterns("last.safetensors", "confusion.*")
    return Path(shutil.copytree(run_folder, tmp_path / "run", ignore=left_out))


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = Config.load(None, [*TINY, "test_speakers=01,02"])
    info = RunInfo(["angry", "sad"], ["ravdess:/r"], [], 'how: "quoted", ä', {"torch": "2"})
    save_run(tmp_path / "new", config, info)
    assert load_run(tmp_path / "new") == (config, info)


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    tensors = {"a": torch.randn(3, 4).T, "b": torch.tensor(3), "c": torch.zeros(0)}
    save_tensors(path, tensors, {"epoch": 3, "history": [{"loss": 0.5}]})
    loaded, state = load_tensors(path)
    assert state == {"epoch": 3, "history": [{"loss": 0.5}]}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"a": torch.ones(1)}, {"epoch": 1})

    def full(_: object, target: Path, **__: object) -> None:
        target.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_tensors(path, {"a": torch.zeros(1)}, {"epoch": 2})
    assert load_tensors(path)[1] == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimiser_continues_where_it_was(make: Callable[..., torch.optim.Optimizer], tmp_path: Path) -> None:
    def step(model: nn.Conv2d, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.arange(150.0).view(2, 3, 5, 5) / 150).square().sum().backward()
        optimizer.step()

    def made() -> tuple[nn.Conv2d, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # as the trainer's models are
        extra = {"momentum": 0.9} if make is torch.optim.SGD else {}
        return model, make(model.parameters(), lr=0.01, fused=True, **extra)

    model, optimizer = made()
    step(model, optimizer)
    save_tensors(tmp_path / "o.safetensors", checkpoint.optimizer_tensors(optimizer), {})
    twin, restored = made()
    twin.load_state_dict(model.state_dict())
    checkpoint.restore_optimizer(restored, load_tensors(tmp_path / "o.safetensors")[0])
    step(model, optimizer)
    step(twin, restored)
    assert torch.equal(model.weight, twin.weight)


def test_load_model(run_folder: Path) -> None:
    path, config, info, calibration = load_model(run_folder)
    assert not path.training
    assert path.temperature == calibration["temperature"]
    assert path(torch.zeros(1, config.window)).shape == (1, len(info.classes))


def test_a_run_without_calibration_has_temperature_1(run_folder: Path, tmp_path: Path) -> None:
    """Runs of before, and weights of another epoch than the one that was calibrated."""
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    values = json.loads((run / "calibration.json").read_text())
    save_calibration(run, {"temperature": 2}, values["epoch"] + 1)
    assert load_model(run)[0].temperature == 1
    save_calibration(run, {"temperature": 2}, values["epoch"])
    assert load_model(run)[0].temperature == 2
    (run / "calibration.json").unlink()
    path, config, _, calibration = load_model(run)
    assert (path.temperature, calibration) == (1, {"temperature": 1})
    windows = torch.randn(2, config.window, generator=torch.Generator().manual_seed(0))
    plain = path.model.acoustic_logits(path.frontend(windows)).softmax(1)
    assert torch.equal(path(windows), plain)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"temperature": 0, "epoch": 1}', '{"temperature": NaN}', '{"temperature": "1"}']
)
def test_damaged_calibration(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"calibration.json: damaged: .") as caught:
        load_calibration(tmp_path, 1)
    assert "\n" not in str(caught.value)


def test_missing_runs(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none: no such run; `fdan-edge train --out"):
        load_run(tmp_path / "none")
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_run(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_run(tmp_path / "file")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path: Path) -> None:
    path.write_bytes(b"\x07garbage" * 1000)


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path)


def huge_shape(path: Path) -> None:
    """As long as it should be, with a shape that no machine's integers hold."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = re.sub(rb'"shape":\[[1-9][0-9,]*\]', b'"shape":[0,99999999999999999999]', data[8 : 8 + size], count=1)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def state_for_resume(path: Path) -> None:
    save_tensors(path, load_tensors(path)[0], {"epoch": 2, "history": []})


def fewer_tensors(path: Path) -> None:
    tensors, state = load_tensors(path)
    save_tensors(path, dict(list(tensors.items())[:5]), state)


@pytest.mark.parametrize(
    "damage", [truncated, garbage, foreign, huge_shape, emptied, state_for_resume, fewer_tensors, Path.unlink]
)
def test_damaged_checkpoints(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run / WEIGHTS)
    with pytest.raises(CheckpointError) as caught:
        load_model(run)
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edited("config.toml", "feature_size = 16", "feature_size = 32"), "does not fit config.toml"),
        (edited("config.toml", "feature_size = 16", "feature_size = 'x'"), "damaged run folder"),
        (edited("config.toml", "feature_size", "size"), "damaged run folder: unknown setting 'size'"),
        (edited("run.toml", "fdan-edge run 1", "other 1"), "not of the format 'fdan-edge run 1'"),
        (edited("run.toml", "protocol", "protocoll"), "damaged run folder"),
        (edited("run.toml", "classes = [", "classes = [1,"), "damaged run folder: classes = "),
        (lambda run: (run / "run.toml").write_bytes(b"\xff"), "damaged run folder: .*not a TOML file"),
        (lambda run: (run / "config.toml").unlink(), "not a run folder"),
    ],
)
def test_damaged_run_folders(run: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(run)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [None, "", "[]", "[" * 100_000, '{"train": []}', '{"train": 1, "val": [], "test": []}']
)
def test_damaged_splits(run: Path, content: str | None) -> None:
    path = run / "split.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CheckpointError, match=r"split.json: missing or damaged: "):
        load_split(run)


def test_one_process_at_a_time_trains_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with (
        sole_writer(folder),
        pytest.raises(CheckpointError, match=r"run: another process trains in it now; wait, or name"),
        sole_writer(folder),
    ):
        pytest.fail("two at once")
    with sole_writer(folder):
        assert list(folder.iterdir()) == []


DEEP, LONG = "[" * 100_000, "9" * 10_000


STATES = ("null", "[]", '"faces"', DEEP, LONG, f'{{"epoch": {LONG}}}', '{"a": 1, "a": 2}', "")
SMALL = (DEEP, LONG, "null", "5", "[]", "{}", '{"temperature": null}', "\0", '{"epoch": 1}')


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_is_none(tmp_path: Path, state: str) -> None:
    path = tmp_path / "t.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"format": checkpoint.FORMAT, "state": state})
    with pytest.raises(CheckpointError, match="cut short or not a checkpoint: ") as caught:
        load_tensors(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", SMALL)
@pytest.mark.parametrize("name", ["calibration.json", "split.json"])
def test_small_files_of_any_content(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / name))) as caught:
        load_calibration(tmp_path, 1) if name == "calibration.json" else load_split(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", ["5", '["a", 1]', "null", '{"a": 1}'])
def test_a_split_of_other_types(tmp_path: Path, value: str) -> None:
    (tmp_path / "split.json").write_text(f'{{"train": ["a"], "val": [], "test": {value}}}')
    with pytest.raises(CheckpointError, match=r"split\.json: missing or damaged: test = .* is not a list"):
        load_split(tmp_path)


@pytest.mark.parametrize(
    "unknown",
    [3, {"note": "x"}, {"confidence": "0.5", "note": "x"}, {"confidence": 0.5}, {"confidence": 0.5, "logit": [1]}],
)
def test_a_damaged_threshold_is_refused(tmp_path: Path, unknown: object) -> None:
    good = {"confidence": 0.5, "logit": [0.1, 0.0], "recordings": 9, "covered": 0.8, "accuracy": None}
    for value in (None, good, {"confidence": 0.5, "note": "usual"}):
        save_calibration(tmp_path, {"temperature": 2, "unknown_below": value}, 1)
        assert load_calibration(tmp_path, 1)["unknown_below"] == value
    save_calibration(tmp_path, {"temperature": 2, "unknown_below": unknown}, 1)
    with pytest.raises(CheckpointError, match=r"calibration\.json: damaged"):
        load_calibration(tmp_path, 1)
