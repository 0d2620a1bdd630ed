"""Settings: defaults, TOML files, --set, and errors that name the wrong value."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import tomli_w

from fdan_edge.config import BACKBONES, FIELDS, Config, config_from_dict, config_to_dict
from fdan_edge.errors import ConfigError


def test_defaults_are_the_papers_where_it_gives_them() -> None:
    config = Config.load(None, [])
    assert config == Config()
    assert (config.backbone, config.batch_size, config.face_batch_size) == ("resnet34", 32, 32)
    assert config.alpha in (1e-3, 1e-4, 1e-5)
    assert (config.window, config.window_hop) == (48000, 24000)


def test_a_toml_file_and_set(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('backbone = "vgg16"\nepochs = 5\nlr = 1\ntest_speakers = ["21", 22]\n')
    config = Config.load(path, ["epochs=7", "alpha = 1e-5", "calm_as_neutral=false", "weights=/w/a b.pth"])
    assert (config.backbone, config.epochs, config.lr, config.alpha) == ("vgg16", 7, 1.0, 1e-5)
    assert isinstance(config.lr, float)
    assert config.test_speakers == ("21", "22")
    assert config.calm_as_neutral is False
    assert config.weights == "/w/a b.pth"


@pytest.mark.parametrize(("text", "names"), [("21, 22,23", ("21", "22", "23")), ("03", ("03",)), ("", ())])
def test_lists_in_set(text: str, names: tuple[str, ...]) -> None:
    assert Config.load(None, [f"test_speakers={text}"]).test_speakers == names


def test_there_and_back(tmp_path: Path) -> None:
    config = Config(backbone="resnet18", test_speakers=("01", "02"), alpha=0.0, calm_as_neutral=False)
    (tmp_path / "c.toml").write_text(tomli_w.dumps(config_to_dict(config)))
    assert Config.load(tmp_path / "c.toml", []) == config


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("epoch=3", r"unknown setting 'epoch' \(did you mean epochs\?\); valid: recipe, backbone, weights"),
        ("epochs", r"--set 'epochs' is not of the form key=value"),
        ("epochs=many", "epochs = 'many' is not a whole number"),
        ("epochs=1.5", "epochs = 1.5 is not a whole number"),
        ("epochs=true", "epochs = True is not a whole number"),
        ('epochs="3"', "epochs = '3' is not a whole number"),
        ("epochs=0", "epochs = 0 is out of range; valid: 1 to 100000"),
        ("lr=fast", "lr = 'fast' is not a number"),
        ("lr=-1", "lr = -1.0 is out of range"),
        ("lr=nan", "lr = nan is out of range"),
        ("alpha=inf", "alpha = inf is out of range"),
        (
            "backbone=resnet43",
            r"unknown backbone 'resnet43' \(did you mean resnet34\?\); valid: resnet34, resnet18",
        ),
        ("optimizer=adam", r"unknown optimizer 'adam' \(did you mean adamw\?\); valid: adamw, sgd"),
        (
            "protocol=lsoo",
            r"unknown protocol 'lsoo' \(did you mean loso\?\); valid: auto, all, speaker, loso, ",
        ),
        ("protocol=kfold,fold=7", r"fold = 7 is out of range; valid: 1 to 6 \(folds\)"),
        ("protocol=kfold,folds=4,fold=5", "fold = 5 is out of range; valid: 1 to 4"),
        ("protocol=speaker,test_texts=02", "test_texts goes with protocol text, not speaker"),
        ("protocol=text,test_speakers=02", "test_speakers goes with protocol speaker, not text"),
        ("protocol=loso,val_speakers=02", "val_speakers goes with protocol speaker, not loso"),
        ("protocol=random,test_speakers=02", "test_speakers goes with protocol speaker, not random"),
        ("acoustic_path=", "unknown acoustic_path ''; valid: skip, bank"),
        ("calm_as_neutral=yes", "calm_as_neutral = 'yes' is not true or false"),
        ("calm_as_neutral=1", "calm_as_neutral = 1 is not true or false"),
        ("high_pass=0.5", "high_pass = 0.5: valid are 0 .no filter. and 10 to 400 Hz"),
        ("hop=2048", "hop = 2048 is longer than n_fft = 1024 samples"),
        ("backbone=vgg16,n_mels=16", "vgg16 needs at least 32 mel bands and 32 frames; n_mels = 16"),
        ("window_hop_seconds=4", "window_hop_seconds = 4 leaves gaps between windows of window_seconds = 3"),
    ],
)
def test_wrong_values_are_named(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Config.load(None, word.split(","))
    assert "\n" not in str(caught.value)


def test_defaults_of_a_command(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('protocol = "loso"')
    assert Config.load(None, [], protocol="kfold").protocol == "kfold"
    assert Config.load(path, [], protocol="kfold").protocol == "loso"
    assert Config.load(path, ["protocol=random"], protocol="kfold").protocol == "random"


def test_what_a_backbone_brought_goes_with_it(tmp_path: Path) -> None:
    """A run's config.toml names every setting, so another backbone's would stay."""
    of_whisper = Config.load(None, ["backbone=whisper_tiny", "lr=0.01"])
    of_images = Config.load(None, ["backbone=resnet18", "epochs=3"])
    for name, config in (("w.toml", of_whisper), ("i.toml", of_images)):
        (tmp_path / name).write_text(tomli_w.dumps(config_to_dict(config)))
    expected = Config.load(None, ["backbone=whisper_tiny", "epochs=3"])
    assert Config.load(tmp_path / "i.toml", ["backbone=whisper_tiny"]) == expected
    expected = Config.load(None, ["backbone=resnet18", "lr=0.01"])  # which was set, and stays
    assert Config.load(tmp_path / "w.toml", ["backbone=resnet18"]) == expected
    assert Config.load(tmp_path / "w.toml", ["backbone=whisper_tiny"]) == of_whisper
    (tmp_path / "c.toml").write_text('backbone = "whisper_tiny"\nn_mels = 128')
    with pytest.raises(ConfigError, match="whisper_tiny needs n_mels = 80, not 128"):
        Config.load(tmp_path / "c.toml", [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epochs = ", "not a TOML file"),
        (b"\xff\xfe\x00", "not a TOML file"),
        (b"[modell]\nepochs = 3", r"unknown group .modell. \(did you mean model\?\); valid: data, model"),
        (b"backbone = 34", "backbone = 34 is not a text"),
        (b'test_speakers = "21"', "test_speakers = '21' is not a list of names"),
        (b"test_speakers = [[1]]", "is not a list of names"),
    ],
)
def test_wrong_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Config.load(path, [])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: No such file"):
        Config.load(tmp_path / "none.toml", [])
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Config.load(tmp_path, [])


def test_every_number_has_a_range() -> None:
    """A setting without one would take -1."""
    for name, field in FIELDS.items():
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            with pytest.raises(ConfigError, match=f"{name} = .* is out of range"):
                config_from_dict({name: type(field.default)(-7)})


def test_every_backbone_is_a_choice() -> None:
    names = ["resnet34", "resnet18", "resnet50", "vgg16", "vgg19", "vgg8", "mobilenet_v2"]
    names += ["mobilenet_v2_small", "mobilenet_v2_tiny", "whisper_tiny"]
    assert set(names) <= set(BACKBONES)
    assert [Config.load(None, [f"backbone={name}"]).backbone for name in names] == names
