"""Settings in groups: where each is, tables in TOML, --set with a group, one group alone, and the table of all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fdan_edge.config import (
    DECISIVE,
    FIELDS,
    GROUP_OF,
    GROUPS,
    Config,
    DataSettings,
    LossSettings,
    setting_rows,
    settings_table,
)
from fdan_edge.config.setting import setting
from fdan_edge.errors import ConfigError


def test_every_setting_is_in_one_group() -> None:
    names = [name for settings in GROUPS.values() for name in settings.__dataclass_fields__]
    assert sorted(names) == sorted(FIELDS)
    assert len(set(names)) == len(names)
    assert list(GROUPS) == ["data", "model", "loss", "augmentation", "optimisation", "machine"]
    assert (GROUP_OF["hop"], GROUP_OF["alpha"], GROUP_OF["lr"]) == ("data", "loss", "optimisation")


def test_a_config_is_each_of_its_groups() -> None:
    assert all(isinstance(Config(), settings) for settings in GROUPS.values())


def test_a_group_alone_checks_its_own() -> None:
    assert DataSettings(protocol="loso", window_seconds=2.0).window == 32000
    with pytest.raises(ConfigError, match="fold = 7 is out of range; valid: 1 to 6"):
        DataSettings(protocol="kfold", fold=7)
    with pytest.raises(ConfigError, match="hop = 2048 is longer than n_fft"):
        DataSettings(hop=2048)
    with pytest.raises(ConfigError, match="alpha = -1 is out of range"):
        LossSettings(alpha=-1)


def test_tables_and_flat_names_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "flat.toml").write_text('alpha = 0.01\nn_mels = 64\nbackbone = "vgg8"\nepochs = 3\n')
    (tmp_path / "tables.toml").write_text(
        'epochs = 3\n[loss]\nalpha = 0.01\n[data]\nn_mels = 64\n[model]\nbackbone = "vgg8"\n'
    )
    flat, tables = (Config.load(tmp_path / name) for name in ("flat.toml", "tables.toml"))
    assert flat == tables == Config.load(None, ["loss.alpha=0.01", "data.n_mels=64", "backbone=vgg8", "epochs=3"])
    assert Config.load(tmp_path / "tables.toml", ["model.backbone=resnet18"]).weights == "pretrained"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loss]\nepochs = 3", "epochs is a setting of optimisation, not of loss: write optimisation.epochs"),
        ("[loss]\nalhpa = 3", r"unknown setting 'alhpa' \(did you mean alpha\?\)"),
        ("[los]\nalpha = 3", r"unknown group 'los' \(did you mean loss\?\); valid: data, model, .*; alpha is a "),
        ("[training]\nalpha = 3", "unknown group 'training'; valid: .*; alpha is a setting of loss$"),
        ("alpha = 1\n[loss]\nalpha = 2", r"alpha is set twice: by itself and in \[loss\]"),
        ("[alpha]\nx = 2", "unknown group 'alpha'"),
        ("loss = 2", "unknown setting 'loss'"),
    ],
)
def test_wrong_tables_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        Config.load(tmp_path / "c.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "loss.epochs=3",
            "epochs is a setting of optimisation, not of loss: write optimisation.epochs, or epochs",
        ),
        ("los.alpha=3", "unknown group 'los'"),
        ("loss.alhpa=3", "unknown setting 'alhpa'"),
        ("loss.alpha=much", "alpha = 'much' is not a number"),
    ],
)
def test_wrong_words_are_one_line(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Config.load(None, [word])
    assert "\n" not in str(caught.value)


def test_a_number_without_a_range_is_no_setting() -> None:
    for bounds in ({}, {"low": 0}, {"high": 1}):
        with pytest.raises(TypeError, match="needs low and high"):
            setting(1, "a number", **bounds)  # type: ignore[arg-type]


def test_what_decides_a_result() -> None:
    assert set(FIELDS) - set(DECISIVE) == {"cache", "save_minutes"}


def test_every_setting_has_a_row() -> None:
    rows = {row.name: row for row in setting_rows()}
    assert set(rows) == set(FIELDS)
    assert all(row.text for row in rows.values())
    assert (rows["alpha"].group, rows["alpha"].type, rows["alpha"].default) == ("loss", "number", "0.001")
    assert rows["alpha"].valid == "0 to 1000"
    assert rows["optimizer"].valid == "adamw, sgd"
    assert rows["cache"].default == "true"
    assert rows["face_backbone"].valid.startswith("(empty), resnet34")
    for name, row in rows.items():  # a default can be written as it stands there
        assert getattr(Config.load(None, [f"{name}={row.default}"]), name) == FIELDS[name].default


def test_the_table_is_printed_without_pytorch() -> None:
    code = (
        "import runpy, sys; runpy.run_module('fdan_edge.config', run_name='__main__'); "
        "assert not {'torch', 'importlib.metadata'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(settings_table().splitlines())
    assert [line[3:] for line in lines if line.startswith("## ")] == list(GROUPS)
    assert "| `hop` | whole number | `256` | 16 to 8192 | step between frames in samples |" in lines
