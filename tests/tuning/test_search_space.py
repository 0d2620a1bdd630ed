"""The words of --space: what they mean, and that every mistake is one line."""

from __future__ import annotations

import pytest

pytest.importorskip("optuna")

from optuna.trial import FixedTrial

from fdan_edge.config import Config
from fdan_edge.errors import ConfigError
from fdan_edge.tuning.search_space import DEFAULT, TUNABLE, Choice, Range, grid, own_values, parse, with_values


def parse_one(word: str, *, faces: bool = True) -> Range | Choice:
    return parse([word], Config(), faces=faces)[0]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("alpha=1e-4..1", Range("alpha", 1e-4, 1, True)),
        ("alpha=0..1", Range("alpha", 0, 1, False)),
        ("lr=1e-3..1e-2", Range("lr", 1e-3, 1e-2, False)),
        ("lr=1e-3..1e-2:log", Range("lr", 1e-3, 1e-2, True)),
        ("lr=1e-4..1e-2:linear", Range("lr", 1e-4, 1e-2, False)),
        ("attention_layers=0..3", Range("attention_layers", 0, 3, False)),
        ("feature_size=8..1024", Range("feature_size", 8, 1024, True)),
        ("backbone=mobilenet_v2, resnet18", Choice("backbone", ("mobilenet_v2", "resnet18"))),
        ("alpha=1e-3,1e-4", Choice("alpha", (1e-3, 1e-4))),
        ("batch_size=16,32", Choice("batch_size", (16, 32))),
        ("balanced=true,false", Choice("balanced", (True, False))),
    ],
)
def test_what_a_word_means(word: str, meant: Range | Choice) -> None:
    dimension = parse_one(word)
    assert dimension == meant
    assert parse_one(str(dimension)) == dimension  # as study.toml keeps it
    value = dimension.ends[0]
    assert dimension.suggest(FixedTrial({dimension.name: value})) == value  # type: ignore[arg-type]
    if isinstance(dimension, Range):
        assert type(dimension.low) is type(getattr(Config(), dimension.name))


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("alpha", "--space 'alpha' is not of the form NAME=LOW..HIGH or NAME=A,B,C"),
        ("alpha=", "--space 'alpha=' is not of the form"),
        ("alhpa=0..1", r"unknown setting 'alhpa' \(did you mean alpha\?\); valid: recipe, backbone, "),
        ("alpha=0..x", "--space alpha: 'x' is not a number"),
        ("attention_layers=0..1.5", "--space attention_layers: '1.5' is not a whole number"),
        ("balanced=yes,no", "--space balanced: 'yes' is not true or false"),
        ("alpha=1..0.1", "--space alpha=1..0.1: the lower end comes first"),
        ("alpha=nan..1", "the lower end comes first"),
        ("alpha=0..1:log", "a range by its logarithm begins above 0"),
        ("alpha=0..1:lgo", r"unknown scale 'lgo' \(did you mean log\?\); valid: log, linear"),
        ("alpha=0.1", r"needs two values or more, all different; one value: --set alpha=0.1"),
        ("alpha=0.1,0.10", "needs two values or more, all different"),
        ("alpha=-1..1", r"--space alpha=-1..1: alpha = -1.0 is out of range; valid: 0 to 1000"),
        ("backbone=resnet34,resnet7", "resnet34,resnet7: unknown backbone 'resnet7'"),
        ("backbone=resnet34,whisper_tiny", "whisper_tiny needs n_fft = 400"),
        ("protocol=random,speaker", "protocol is not tuned: it decides what is tested"),
        ("seed=0..9", "seed is not tuned: the best of several seeds is luck"),
    ],
)
def test_mistakes(word: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        parse_one(word)


def test_the_default_is_what_the_issue_names() -> None:
    names = [dimension.name for dimension in parse([], Config(), faces=True)]
    assert names == ["alpha", "weight_decay", "attention_layers", "lr"]
    assert [str(dimension) for dimension in parse([], Config(), faces=True)] == [
        word.replace("1e-5", "1e-05").replace("1e-4", "0.0001").replace("1e-2", "0.01") for word in DEFAULT
    ]


def test_without_faces_their_settings_mean_nothing() -> None:
    assert [dimension.name for dimension in parse([], Config(), faces=False)] == ["weight_decay", "lr"]
    with pytest.raises(ConfigError, match="alpha means nothing without --faces"):
        parse_one("alpha=0..1", faces=False)


def test_a_setting_has_one_word() -> None:
    with pytest.raises(ConfigError, match="--space names lr twice"):
        parse(["lr=1e-4..1e-3", "lr=1e-3..1e-2"], Config(), faces=True)


def test_nothing_that_decides_the_test_is_tunable() -> None:
    decisive = {"protocol", "test_speakers", "val_speakers", "folds", "fold", "test_texts", "test_fraction"}
    assert not decisive & set(TUNABLE)
    assert {"alpha", "weight_decay", "attention_layers", "lr", "backbone"} <= set(TUNABLE)


def test_the_settings_own_values_where_the_space_holds_them() -> None:
    space = parse(["alpha=1e-5..1", "backbone=resnet18,resnet34"], Config(), faces=True)
    assert own_values(space, Config()) == {"alpha": 1e-3, "backbone": "resnet34"}
    assert own_values(space, Config.load(None, ["alpha=2"])) == {}


def test_a_grid_is_every_combination() -> None:
    space = parse(["lr=1e-3,1e-2", "attention_layers=0..2"], Config(), faces=True)
    values_in_order = [(values["lr"], values["attention_layers"]) for values in grid(space)]
    assert values_in_order == [(1e-3, 0), (1e-3, 1), (1e-3, 2), (1e-2, 0), (1e-2, 1), (1e-2, 2)]
    with pytest.raises(ConfigError, match=r"grid needs values of lr, not a range: --space lr=A,B,C"):
        grid(parse(["lr=1e-4..1e-2"], Config(), faces=True))


def test_a_trials_settings_are_checked_as_all_are() -> None:
    assert with_values(Config(), {"lr": 0.5, "attention_layers": 2}).lr == 0.5
    with pytest.raises(ConfigError, match="hop = 2048 is longer than n_fft"):
        with_values(Config(), {"hop": 2048})
