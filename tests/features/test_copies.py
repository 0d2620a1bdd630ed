"""Copies of recordings: the same every time, others for each number, and rooms without their delay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.audio import decode
from fdan_edge.config import Config
from fdan_edge.data.corpora import Item
from fdan_edge.features.copies import Copy, copies_elsewhere, load_copy, weak_copies

RATE = 16_000


@pytest.fixture
def item(tmp_path: Path) -> Item:
    samples = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    return Item("folder", "a", tmp_path / "a.wav", "happy")


def copies(*words: str) -> list[Copy]:
    return copies_elsewhere(Config.load(None, list(words)))


def test_as_many_as_the_settings_say_and_each_another(item: Item) -> None:
    waveform = decode.load(item.path)
    assert copies("surroundings=0") == []
    made = [copy.changed(waveform, item) for copy in copies("surroundings=4")]
    assert len({part.tobytes() for part in made}) > 2  # chance may leave one as it is
    again = copies("surroundings=4")[2]
    assert np.array_equal(again.changed(waveform, item), made[2])
    others = [copy.changed(waveform, item) for copy in copies("surroundings=4", "seed=1")]
    assert [part.tobytes() for part in others] != [part.tobytes() for part in made]


def test_keys_tell_copies_apart(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(1).uniform(-0.5, 0.5, RATE), RATE)
    keys = [copy.key for copy in copies("surroundings=2")]
    keys += [copies("seed=1")[0].key, copies(f"noise={tmp_path / 'noise.wav'}")[0].key]
    assert len({repr(key) for key in keys}) == 4


def test_a_measured_room_does_not_delay_speech(tmp_path: Path) -> None:
    response = np.zeros(RATE, np.float32)
    response[3000], response[4000] = 0.9, 0.3  # the sound took 0.19 s to the microphone
    soundfile.write(tmp_path / "room.wav", response, RATE, subtype="FLOAT")
    (copy,) = copies("surroundings=1", f"rooms={tmp_path / 'room.wav'}")
    (room,) = copy.surroundings.rooms  # type: ignore[attr-defined]
    assert int(np.abs(room).argmax()) <= 16  # 1 ms


@pytest.mark.parametrize("copy", weak_copies(), ids=lambda copy: copy.kind)
def test_a_copy_is_filtered_at_the_rate_of_the_model(copy: Copy, item: Item) -> None:
    config = Config.load(None, ["sample_rate=8000", "trim_db=0"])
    assert abs(len(load_copy(item, config, copy)) - 8000) <= 1
