"""The option --channel of infer and stream: calls with a speaker on each side, dead and opposite channels."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fdan_edge
from fdan_edge.data.corpora.synthetic.voices import voice
from fdan_edge.runtime.recognition import Recognition
from fdan_edge.utils.messages import warn_once
from tests.helpers.clips import write as write_clip
from tests.helpers.shell import shell
from tests.helpers.stream_parts import RATE, Fake, babble

Run = Callable[..., tuple[int, str, str]]
Sound = NDArray[np.float32]
SURE = ("--vad", "energy", "--unknown", "0")
CANCEL = "its channels cancel each other; the louder one"


@pytest.fixture(autouse=True)
def nothing_was_said() -> None:
    """Each line is printed once in a process, so in one of these tests only."""
    warn_once.cache_clear()


def spoken(emotion: str, speaker: int = 1) -> Sound:
    quiet = babble((0.4, 0.0), seed=speaker)
    return np.concatenate([quiet, np.asarray(voice(emotion, speaker, 0), np.float32), quiet])


def beside(*channels: Sound) -> Sound:
    length = max(map(len, channels))
    return np.stack([np.pad(channel, (0, length - len(channel))) for channel in channels], axis=1)


def written(path: Path, samples: Sound, **options: Any) -> Path:
    soundfile.write(path, samples, RATE, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "calls").mkdir()
    return tmp_path / "calls"


@pytest.fixture
def call(folder: Path) -> Path:
    """One speaker on each side."""
    return written(folder / "call.wav", beside(spoken("angry", 1), spoken("sad", 2)), subtype="FLOAT")


def sides(path: Path) -> tuple[Path, Path]:
    """The same two sides as files of their own, elsewhere."""
    samples, rate = soundfile.read(path, dtype="float32")
    folder = path.parent.parent
    names = (folder / "left.wav", folder / "right.wav")
    for name, column in zip(names, samples.T, strict=True):
        soundfile.write(name, column, rate, subtype="FLOAT")
    return names


def answers(bundle: Path, *paths: Path) -> list[Recognition]:
    with fdan_edge.load(bundle) as recognizer:
        return [recognizer.recognize_file(path) for path in paths]


def events_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_each_channel_has_a_row_and_the_answer_of_its_own_file(
    run: Run, bundle_folder: Path, call: Path, folder: Path
) -> None:
    mono = written(folder / "mono.wav", spoken("happy"))
    expected = answers(bundle_folder, *sides(call), mono)
    code, out, err = run("infer", bundle_folder, folder, "--channel", "each")
    assert (code, err) == (0, "")
    _, head, *table = (line.split() for line in out.splitlines())
    assert head == ["file", "channel", "emotion", "confidence", "seconds"]
    assert [line[:3] for line in table[:2]] == [
        ["call.wav", "left", expected[0].emotion],
        ["call.wav", "right", expected[1].emotion],
    ]
    assert table[2][:2] == ["mono.wav", expected[2].emotion]
    values = [
        json.loads(line)
        for line in run("infer", bundle_folder, folder, "--channel", "each", "--json")[1].splitlines()
    ]
    assert [list(value)[:3] for value in values] == [["path", "channel", "emotion"]] * 3
    assert [value["channel"] for value in values] == ["left", "right", None]
    for value, answer in zip(values, expected, strict=True):
        assert value["probabilities"] == pytest.approx(answer.probabilities, abs=1e-5)
        assert value["seconds"] == pytest.approx(answer.seconds, abs=1e-3)


@pytest.mark.parametrize(("channel", "side"), [("left", 0), ("1", 0), ("right", 1), ("2", 1)])
def test_one_channel(run: Run, bundle_folder: Path, call: Path, channel: str, side: int) -> None:
    expected = answers(bundle_folder, sides(call)[side])[0]
    code, out, err = run("infer", bundle_folder, call, "--channel", channel, "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    assert "channel" not in value
    assert value["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    with fdan_edge.load(bundle_folder) as recognizer:
        samples, rate = soundfile.read(call, dtype="float32")
        of_samples = recognizer.recognize(samples, rate, channel=channel)
        of_file = recognizer.recognize_file(call, channel=channel)
        embeddings = recognizer.embed_file(call, channel), recognizer.embed(samples, rate, channel)
        alone = recognizer.embed_file(sides(call)[side])
    assert of_samples.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert of_file.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    for embedding in embeddings:
        np.testing.assert_allclose(embedding, alone, atol=1e-4)


def test_tables_and_embeddings_of_channels(run: Run, bundle_folder: Path, call: Path, folder: Path) -> None:
    mono, out = written(folder / "mono.wav", spoken("happy")), folder.parent / "out"
    options = ("--channel", "each", "--csv", out / "t.csv", "--embeddings", out / "e.npz")
    assert run("infer", bundle_folder, folder, *options)[0] == 0
    found = rows((out / "t.csv").read_text())
    assert [*found[0]][:3] == ["path", "channel", "emotion"]
    assert [(row["path"], row["channel"]) for row in found] == [
        (str(call), "left"),
        (str(call), "right"),
        (str(mono), ""),
    ]
    with np.load(out / "e.npz", allow_pickle=False) as table:
        assert table["channels"].tolist() == ["left", "right", ""]
        assert table["paths"].tolist() == [str(call), str(call), str(mono)]
        embeddings = table["embeddings"]
    with fdan_edge.load(bundle_folder) as recognizer:
        alone = [recognizer.embed_file(path) for path in (*sides(call), mono)]
    np.testing.assert_allclose(embeddings, alone, atol=1e-4)
    run("infer", bundle_folder, folder, "--csv", out / "t.csv", "--embeddings", out / "e.npz")
    assert "channel" not in rows((out / "t.csv").read_text())[0]
    assert "channels" not in np.load(out / "e.npz")


def test_segments_of_each_channel(run: Run, bundle_folder: Path, call: Path) -> None:
    table = call.parent.parent / "s.csv"
    options = ("--windows", "--channel", "each")
    code, out, err = run("infer", bundle_folder, call, *options, "--csv", table)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["file", "channel", "emotion", "confidence", "start", "end"]
    found = rows(table.read_text())
    assert {row["channel"] for row in found} == {"left", "right"}
    values = [json.loads(line) for line in run("infer", bundle_folder, call, *options, "--json")[1].splitlines()]
    assert [value["channel"] for value in values] == ["left", "right"]
    for value, side in zip(values, sides(call), strict=True):
        alone = json.loads(run("infer", bundle_folder, side, "--windows", "--json")[1])
        assert value["events"] == alone["events"]


def test_more_than_two_channels_have_numbers(run: Run, bundle_folder: Path, folder: Path) -> None:
    samples = beside(spoken("angry"), spoken("sad"), spoken("happy"))
    written(folder / "three.flac", samples)
    _, out, _ = run("infer", bundle_folder, folder, "--channel", "each", "--json")
    assert [json.loads(line)["channel"] for line in out.splitlines()] == ["1", "2", "3"]


def test_a_channel_without_sound_is_named(run: Run, bundle_folder: Path, folder: Path) -> None:
    path = written(folder / "a.wav", beside(spoken("angry"), np.zeros(RATE, np.float32)))
    code, out, err = run("infer", bundle_folder, path, "--channel", "each", "--json")
    assert code == 1
    assert err.startswith(f"error: {path}, channel right: is silent: ")
    left, right = (json.loads(line) for line in out.splitlines())
    assert left["channel"] == "left"
    assert (right["channel"], right["error"]) == ("right", err.removeprefix("error: ").strip())
    assert answers(bundle_folder, path)[0].emotion == left["emotion"]  # the default is not told of it


@pytest.mark.parametrize("options", [[], ["--json"], ["--windows"]])
def test_a_damaged_file_is_said_once(run: Run, bundle_folder: Path, call: Path, options: list[str]) -> None:
    call.write_bytes(call.read_bytes()[:30_000])
    code, out, err = run("infer", bundle_folder, call, "--channel", "each", *options)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {call}: is cut short")
    assert len(out.splitlines()) == (1 if options == ["--json"] else 0)


@pytest.mark.parametrize(
    ("channel", "count", "there"), [("right", 1, "1 channel"), ("3", 2, "2 channels"), ("7", 6, "6 channels")]
)
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_a_channel_that_is_not_there(
    fails: Callable[..., str], bundle_folder: Path, folder: Path, channel: str, count: int, there: str, name: str
) -> None:
    path = written(folder / name, beside(*[spoken("angry")] * count))
    line = f"has {there}; there is no channel {channel}"
    assert fails("infer", bundle_folder, path, "--channel", channel) == f"{path}: {line}"
    assert fails("infer", bundle_folder, path, "--channel", channel, "--windows") == f"{path}: {line}"
    outputs = ("--csv", folder / "new" / "x.csv", "--json")
    assert fails("stream", bundle_folder, path, "--channel", channel, *outputs) == f"{name}: {line}"
    assert not (folder / "new").exists()


@pytest.mark.parametrize("verb", ["infer", "stream"])
def test_no_choice(fails: Callable[..., str], bundle_folder: Path, call: Path, verb: str) -> None:
    message = fails(verb, bundle_folder, call, "--channel", "rigth")
    assert message.startswith("unknown channel 'rigth' (did you mean right?); valid: auto, mix, left, right, each")
    for channel in ("0", "-1", "65"):
        assert fails(verb, bundle_folder, call, "--channel", channel).endswith("or a number from 1 to 64")


def test_a_microphone_has_one(fails: Callable[..., str], bundle_folder: Path) -> None:
    assert fails("stream", bundle_folder, "--mic", "--channel", "each").startswith("--channel is for files")


FORMATS = {
    "a.wav": {"subtype": "PCM_16"},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {"format": "MP3"},
}


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both verbs run a model that says "angry" of loud speech, and "sad" of what is left where it cancels."""

    def answer(waveform: Sound) -> list[float]:
        return [0.8, 0.1, 0.1] if np.square(waveform).sum() > 20 else [0.1, 0.1, 0.8]

    for name in ("open_runner", "open_stream_runner"):
        monkeypatch.setattr(f"fdan_edge.runtime.opening.{name}", lambda *_, **__: Fake(answer))


def labels_of(done: tuple[int, str, str]) -> set[str]:
    code, out, _ = done
    assert code == 0
    events = events_of(out)
    return {
        event.get("emotion") or event["label"] for event in events if event.get("type", "segment") == "segment"
    }


@pytest.mark.usefixtures("ear")
@pytest.mark.parametrize("name", [*FORMATS, "a.mp4", "a.webm"])
def test_opposite_channels_have_the_answer_of_one(run: Run, folder: Path, name: str) -> None:
    x = spoken("angry")
    path, stereo = folder / name, beside(x, -0.9 * x + babble((len(x) / RATE, 0.0), seed=7, noise=3e-4))
    if name in FORMATS:
        written(path, stereo, **FORMATS[name])
    else:
        write_clip(path, [np.zeros((64, 64, 3), np.uint8)] * 16, stereo.T)
    mono = written(folder.parent / "mono.wav", x)
    for words in (("infer", "model"), ("stream", "model", *SURE)):
        assert labels_of(run(*words, mono, "--json")) == {"angry"}
        done = run(*words, path, "--json")
        assert labels_of(done) == {"angry"}
        assert re.fullmatch(rf"(\S*/)?{name}: {CANCEL} \((left|right)\) is taken\n", done[2])
        for channel, label in (("left", "angry"), ("right", "angry"), ("mix", "sad")):
            done = run(*words, path, "--json", "--channel", channel)
            assert done[2] == "" or words[0] == "stream"  # which says that the mean is too quiet
            assert labels_of(done) <= {label}


def test_a_dead_channel_changes_no_answer(run: Run, bundle_folder: Path, folder: Path) -> None:
    x = spoken("angry")
    mono = written(folder.parent / "mono.wav", x, subtype="FLOAT")
    expected = answers(bundle_folder, mono)[0]
    for number, dead in enumerate((np.zeros_like(x), babble((len(x) / RATE, 0.0), noise=1e-5))):
        written(folder / f"{number}.wav", beside(x, dead), subtype="FLOAT")
        written(folder / f"{number}r.wav", beside(dead, x), subtype="FLOAT")
    code, out, err = run("infer", bundle_folder, folder, "--json")
    assert (code, err) == (0, "")
    for line in out.splitlines():
        assert json.loads(line)["emotion"] == expected.emotion
        assert json.loads(line)["probabilities"] == pytest.approx(expected.probabilities, abs=0.02)


def test_a_stream_of_each_channel(run: Run, bundle_folder: Path, call: Path) -> None:
    code, out, err = run("stream", bundle_folder, call, "--channel", "each", "--json", *SURE)
    assert (code, err) == (0, "")
    events = events_of(out)
    assert [list(event)[:2] for event in events] == [["type", "channel"]] * len(events)
    assert [event["type"] for event in events[-2:]] == ["ended", "ended"]
    for channel, side in zip(("left", "right"), sides(call), strict=True):
        alone = events_of(run("stream", bundle_folder, side, "--json", *SURE)[1])
        of_channel = [event for event in events if event["channel"] == channel]
        assert of_channel == [{**event, "channel": channel} for event in alone]


def test_lines_and_files_of_each_channel(run: Run, bundle_folder: Path, call: Path) -> None:
    out = call.parent.parent / "out"
    files = ("--rttm", out / "x.rttm", "--csv", out / "x.csv", "--audacity", out / "x.txt")
    code, lines, err = run("stream", bundle_folder, call, "--channel", "each", *SURE, *files)
    assert code == 0
    found = [line.split()[0] for line in lines.splitlines()]
    assert set(found) == {"left", "right"}
    assert [line.partition(":")[0] for line in err.splitlines()] == ["channel left", "channel right"]
    with (out / "x.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["channel"] for row in table] == found
    numbers = [line.split()[2] for line in (out / "x.rttm").read_text().splitlines()]
    assert numbers == [{"left": "1", "right": "2"}[name] for name in found]
    labels = [line.split("\t")[2] for line in (out / "x.txt").read_text().splitlines()]
    assert labels == [f"{row['channel']}: {row['label']}" for row in table]


def test_the_only_channel_has_no_name(run: Run, bundle_folder: Path, call: Path) -> None:
    left, _ = sides(call)
    assert run("stream", bundle_folder, left, "--channel", "each", *SURE) == run(
        "stream", bundle_folder, left, *SURE
    )
    events = events_of(run("stream", bundle_folder, left, "--channel", "each", "--json", *SURE)[1])
    assert {event["channel"] for event in events} == {None}


def test_one_channel_keeps_its_number_in_rttm(run: Run, bundle_folder: Path, call: Path) -> None:
    path = call.parent.parent / "x.rttm"
    assert run("stream", bundle_folder, call, "--channel", "right", *SURE, "--rttm", path)[0] == 0
    assert {line.split()[2] for line in path.read_text().splitlines()} == {"2"}


@pytest.mark.parametrize("wav", [True, False])
def test_standard_input(run: Run, bundle_folder: Path, call: Path, wav: bool) -> None:
    samples, _ = soundfile.read(call, dtype="float32")
    data = call.read_bytes() if wav else samples.astype("<f4").tobytes()
    raw = () if wav else ("--channels", "2", "--format", "f32")
    words = [sys.executable, "-m", "fdan_edge", "stream", str(bundle_folder), "-", "--channel", "each", "--json"]
    done = subprocess.run([*words, *raw, *SURE], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    of_file = events_of(run("stream", bundle_folder, call, "--channel", "each", "--json", *SURE)[1])

    def plain(events: list[dict[str, Any]]) -> list[str]:
        kept = [{k: v for k, v in event.items() if k != "latency"} for event in events]
        return sorted(json.dumps(event) for event in kept)

    assert plain(events_of(done.stdout.decode())) == plain(of_file)


def test_standard_input_without_that_channel(bundle_folder: Path, call: Path) -> None:
    with call.open("rb") as file:
        done = shell("stream", bundle_folder, "-", "--channel", "3", stdin=file)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard input (WAV: ")
    assert done.stderr.endswith("has 2 channels; there is no channel 3\n")


def on_a_terminal(*words: str | Path) -> str:
    """What a command writes on a terminal."""
    terminal, ours = pty.openpty()
    command = [sys.executable, "-m", "fdan_edge", *map(str, words)]
    with subprocess.Popen(command, stdin=ours, stdout=ours, stderr=ours):
        os.close(ours)
        text = b""
        with contextlib.suppress(OSError):  # nobody holds the other end any more
            while data := os.read(terminal, 1 << 16):
                text += data
    os.close(terminal)
    return text.decode()


def test_on_a_terminal(bundle_folder: Path, call: Path, folder: Path) -> None:
    lines = on_a_terminal("stream", bundle_folder, call, "--channel", "each", *SURE).splitlines()
    assert "\x1b[?1049h" not in "".join(lines)
    assert lines[0].startswith("left ")
    assert [line.partition(":")[0] for line in lines[-2:]] == ["channel left", "channel right"]
    opposite = written(folder / "o.wav", beside(spoken("sad"), -0.9 * spoken("sad")))
    view, _, after = on_a_terminal("stream", bundle_folder, opposite, *SURE).partition("\x1b[?1049l")
    assert CANCEL not in view  # where the view would cover it
    assert after.startswith(f"o.wav: {CANCEL}")
