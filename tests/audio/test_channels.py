"""Several channels to one: the mean, a choice, and what is done where channels cancel each other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fdan_edge.audio.channels import (
    ChannelMixer,
    channel_names,
    channel_number,
    check_channel,
    check_has_channel,
)
from fdan_edge.errors import AudioError, ConfigError
from fdan_edge.utils.messages import warn_once

RATE = 16_000
CANCEL = "its channels cancel each other; the louder one"


@pytest.fixture(autouse=True)
def nothing_was_said() -> None:
    """Each line is printed once in a process, so in one of these tests only."""
    warn_once.cache_clear()


def noise(seed: int, seconds: float = 1.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def mixed(channels: NDArray[np.float32], channel: str = "auto", block: int = 800) -> NDArray[np.float32]:
    mixer = ChannelMixer(channel, "talk.wav")
    return np.concatenate([mixer(channels[i : i + block], RATE) for i in range(0, len(channels), block)])


X, Y = noise(1), noise(2)


@pytest.mark.parametrize("channel", ["auto", "mix", "left", "1"])
def test_one_channel_stays_as_it_is(channel: str) -> None:
    np.testing.assert_array_equal(mixed(X, channel), X)
    np.testing.assert_array_equal(mixed(X[:, None], channel), X)


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("auto", (X + Y) / 2), ("mix", (X + Y) / 2), ("left", X), ("right", Y), ("1", X), ("02", Y)],
)
def test_choices(channel: str, expected: NDArray[np.float32], capsys: pytest.CaptureFixture[str]) -> None:
    np.testing.assert_allclose(mixed(np.stack([X, Y], axis=1), channel), expected, atol=1e-7)
    assert capsys.readouterr().err == ""


def test_a_dead_channel_beside_a_live_one_is_no_reason_to_speak(capsys: pytest.CaptureFixture[str]) -> None:
    for dead in (np.zeros_like(X), np.full_like(X, 0.3), 1e-5 * Y):
        got = mixed(np.stack([X, dead], axis=1))
        assert np.corrcoef(got, X)[0, 1] > 0.999
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("other", "name", "expected"), [(-1.0, "left", X), (-0.8, "left", X), (-1.25, "right", -1.25 * X)]
)
def test_channels_that_cancel(
    other: float, name: str, expected: NDArray[np.float32], capsys: pytest.CaptureFixture[str]
) -> None:
    got = mixed(np.stack([X, other * X + 1e-4 * Y], axis=1))
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert capsys.readouterr().err == f"talk.wav: {CANCEL} ({name}) is taken\n"
    np.testing.assert_allclose(mixed(np.stack([X, other * X], axis=1), "mix"), (1 + other) / 2 * X, atol=1e-6)


def test_of_more_channels_the_loudest(capsys: pytest.CaptureFixture[str]) -> None:
    got = mixed(np.stack([0.4 * X, 0.6 * X, -X], axis=1))
    np.testing.assert_array_equal(got, -X)
    assert capsys.readouterr().err == f"talk.wav: {CANCEL} (number 3) is taken\n"


def test_it_is_said_once_though_they_cancel_again(capsys: pytest.CaptureFixture[str]) -> None:
    opposite, same = np.stack([X, -0.9 * X], axis=1), np.stack([Y, Y], axis=1)
    again = np.stack([-0.9 * X, X], axis=1)
    mixed(np.concatenate([opposite, np.tile(same, (20, 1)), np.tile(again, (20, 1))]))
    assert capsys.readouterr().err == f"talk.wav: {CANCEL} (left) is taken\n"


@pytest.mark.parametrize(
    ("channel", "count", "there"), [("right", 1, "1 channel"), ("3", 2, "2 channels"), ("64", 6, "6 channels")]
)
def test_a_channel_that_is_not_there(channel: str, count: int, there: str) -> None:
    frames = np.zeros((10, count), np.float32)
    with pytest.raises(AudioError, match=f"^talk.wav: has {there}; there is no channel {channel}$"):
        ChannelMixer(channel, "talk.wav")(frames, RATE)
    with pytest.raises(AudioError, match=f"^has {there}; there is no channel {channel}$"):
        check_has_channel(channel, count)
    if count == 1:
        with pytest.raises(AudioError):
            ChannelMixer(channel)(frames[:, 0], RATE)


def test_what_flushes_a_filter_has_no_channel() -> None:
    assert len(ChannelMixer("right")(np.zeros(0, np.float32), RATE)) == 0


@pytest.mark.parametrize("channel", ["", "0", "-1", "65", "1.0", "both", "LEFT", "each", "²", "9" * 5000])
def test_no_choice(channel: str) -> None:
    with pytest.raises(ConfigError, match="valid: auto, mix, left, right, or a number from 1 to 64"):
        check_channel(channel)
    if channel != "each":
        with pytest.raises(ConfigError, match="right, each, or a number"):
            check_channel(channel, each=True)


def test_each_is_for_commands() -> None:
    assert check_channel("each", each=True) == "each"
    assert [channel_names(count) for count in (1, 2, 3)] == [[""], ["left", "right"], ["1", "2", "3"]]
    assert [channel_number(name) for name in ("", "auto", "mix", "left", "right", "7")] == [1, 1, 1, 1, 2, 7]
