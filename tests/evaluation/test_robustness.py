"""Scores in noise, rooms, lines and codecs: paired, by the code path of files, and what is left out is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.audio import decode
from fdan_edge.audio.conditions import transmission
from fdan_edge.audio.conditions.named import SNRS, Condition, conditions
from fdan_edge.audio.windows import cut_windows
from fdan_edge.data.corpora import Item
from fdan_edge.errors import DataError
from fdan_edge.evaluation import robustness
from fdan_edge.evaluation.robustness import Robustness, robustness_items
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import Probabilities

RATE, WINDOW = 16_000, 8_000
LABELS = ("hiss", "tone")
FEW = ("white noise", "recorded noise", "room, 0.3 s", "peak at -20 dBFS")


class Listener:
    """Says "tone" as far as a window's power lies in one place of the spectrum; remembers the windows."""

    name = "listener"
    spec = ModelSpec(LABELS, RATE, WINDOW, WINDOW, 40.0, {"unknown_below": {"confidence": 0.7}}, high_pass=80)

    def __init__(self) -> None:
        self.windows: list[NDArray[np.float32]] = []

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        self.windows.extend(waveforms)
        power = np.square(np.abs(np.fft.rfft(waveforms)))
        share = power.max(axis=1) / np.maximum(power.sum(axis=1), 1e-20)
        tone = np.clip(share, 0.1, 0.9)
        return np.stack([1 - tone, tone], axis=1).astype(np.float32)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def recording(folder: Path, number: int, emotion: str, offset: float = 0.0) -> Item:
    """A recording of 0.4 s, quieter than one in noise of 0 dB."""
    time, rng = np.arange(6_400) / RATE, np.random.default_rng(number)
    sound = np.sin(2 * np.pi * 440 * time) if emotion == "tone" else rng.normal(size=len(time))
    path = folder / f"{number}.wav"
    soundfile.write(path, 0.05 * sound + offset, RATE, subtype="FLOAT")
    return Item("x", str(number), path, emotion, f"s{number % 3}")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    folder = tmp_path_factory.mktemp("sounds")
    return [recording(folder, number, LABELS[number % 2]) for number in range(6)]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few of the conditions: all of them take seconds."""
    chosen = ("clean", *FEW)
    monkeypatch.setattr(
        robustness, "conditions", lambda noises=(): [c for c in conditions(noises) if _is(c, chosen)]
    )


def _is(condition: Condition, chosen: tuple[str, ...]) -> bool:
    return condition.name.startswith(chosen)


@pytest.fixture
def scored(items: list[Item], few: None) -> Robustness:  # noqa: ARG001
    return robustness_items(Listener(), items, "some", threads=1)


def test_noise_costs_more_the_louder_it_is(scored: Robustness) -> None:
    rows = {row.condition: row for row in scored.rows}
    clean = scored.rows[0]
    assert (clean.condition, clean.uar, clean.change, clean.changed, clean.right) == ("clean", 1, 0, 0, 1)
    assert clean.change_interval == (0, 0)
    uar = [rows[f"white noise, {snr} dB"].uar for snr in SNRS]
    assert uar[0] == 1 > uar[-1]
    assert sorted(uar, reverse=True) == uar
    loud = rows["white noise, 0 dB"]
    assert loud.change == loud.uar - 1 < 0
    assert loud.change_interval[0] <= loud.change <= loud.change_interval[1]
    assert loud.changed == pytest.approx(0.5)  # each tone is called hiss
    assert rows["peak at -20 dBFS, 16 bits"].uar == 1
    assert (scored.n, scored.part, scored.labels) == (6, "some", ["hiss", "tone"])
    assert scored.resampled.startswith("2000 resamples of 3 speakers")


def test_what_is_unknown_does_not_count_as_right_or_wrong(items: list[Item]) -> None:
    listener = Listener()
    listener.spec = replace(listener.spec, info={"unknown_below": {"confidence": 0.95}})
    rows = robustness_items(listener, items, "some", threads=1).rows
    assert {row.unknown for row in rows} == {1}
    assert {row.right for row in rows} == {None}
    assert rows[0].uar == 1


def test_clean_is_what_files_are(items: list[Item]) -> None:
    listener = Listener()
    robustness_items(listener, items[:1], "some", threads=1)
    speech = decode.load_speech(items[0].path, RATE, 40.0, high_pass=80)
    (expected,) = cut_windows(speech, WINDOW, WINDOW)
    assert listener.windows[0] == pytest.approx(expected, abs=1e-6)


def test_a_constant_offset_is_no_part_of_the_level(tmp_path: Path) -> None:
    plain, shifted = Listener(), Listener()
    for listener, offset in ((plain, 0.0), (shifted, 0.5)):
        robustness_items(listener, [recording(tmp_path, 1, "tone", offset)], "some", threads=1)
    assert np.stack(shifted.windows) == pytest.approx(np.stack(plain.windows), abs=1e-3)


def test_seeds_reproduce_and_order_does_not_matter(items: list[Item], scored: Robustness) -> None:
    again = robustness_items(Listener(), items[::-1], "some", threads=2)
    assert [(row.condition, row.uar, row.unknown) for row in again.rows] == [
        (row.condition, row.uar, row.unknown) for row in scored.rows
    ]


def test_recorded_noise_is_scored_too(items: list[Item]) -> None:
    noise = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    scored = robustness_items(Listener(), items, "some", noises=[noise], threads=1)
    assert scored.recorded_noise == 1
    assert sum(row.condition.startswith("recorded noise, ") for row in scored.rows) == len(SNRS)


def test_broken_recordings_are_named_and_left_out_of_all(items: list[Item], tmp_path: Path) -> None:
    empty = Item("x", "empty", tmp_path / "empty.wav", "tone", "s1")
    empty.path.write_bytes(b"")
    other = Item("x", "none", tmp_path / "none.wav", "sad", "s1")  # of a class that is not known
    scored = robustness_items(Listener(), [empty, *items, other], "some", threads=1)
    assert (scored.n, scored.skipped) == (6, 1)
    assert scored.broken == [f"{empty.path}: is empty (0 bytes)"]
    with pytest.raises(DataError, match="none of 2 recordings could be scored; the model knows hiss, tone"):
        robustness_items(Listener(), [empty, other], "some", threads=1)


def test_a_long_recording_needs_no_batch_of_all_its_windows(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.sin(np.arange(20 * WINDOW) / 6).astype(np.float32) * 0.1, RATE)
    most: list[int] = []

    class Counting(Listener):
        def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
            most.append(len(waveforms))
            return super().predict(waveforms)

    robustness_items(Counting(), [Item("x", "long", path, "tone", "s")], "some", threads=1)
    assert max(most) == 16


def test_without_pyav_it_says_which_codecs_are_left_out(
    items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transmission, "is_installed", lambda: False)
    scored = robustness_items(Listener(), items[:2], "some", threads=1)
    assert scored.codecs_left_out == ["opus", "mp3", "amr"]
    values: dict[str, Any] = scored.to_dict()
    assert values["conditions"][0]["condition"] == "clean"
