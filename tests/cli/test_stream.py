"""`fdan-edge stream` from its command line, in this process and as a program in a pipe."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fdan_edge.cli.render import stream
from fdan_edge.streaming.events import Ended, Lost, Segment
from tests.helpers.stream_parts import babble

Run = Callable[..., tuple[int, str, str]]
TALK = babble((0.6, 0.0), (1.6, 0.3), (1.2, 0.0), (1.4, 0.2), (1.0, 0.0))
SURE = ("--vad", "energy", "--unknown", "0")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "a talk.flac"
    soundfile.write(path, np.stack([TALK, TALK], axis=1), 16_000)
    return path


def program(bundle: Path, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "fdan_edge", "stream", str(bundle), *map(str, arguments), *SURE]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def pcm(sound: Any) -> bytes:
    data: bytes = np.round(sound * 32_767).astype("<i2").tobytes()
    return data


def test_a_file_as_json(run: Run, bundle_folder: Path, talk: Path) -> None:
    code, out, err = run("stream", bundle_folder, talk, "--json", *SURE)
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "speech"
    assert kinds.count("silence") == 2
    assert events[-1] == {"type": "ended", "time": round(len(TALK) / 16_000, 3), "reason": "the sound ended"}
    assert "latency" not in events[1]


def test_a_line_for_each_segment_and_a_summary(run: Run, bundle_folder: Path, talk: Path) -> None:
    events = [json.loads(line) for line in run("stream", bundle_folder, talk, "--json", *SURE)[1].splitlines()]
    segments = [event for event in events if event["type"] == "segment"]
    code, out, err = run("stream", bundle_folder, talk, *SURE)
    assert code == 0
    assert len(out.splitlines()) == len(segments) >= 2
    assert segments[0]["label"] in out.splitlines()[0]
    assert err.startswith("heard 0:06: ")
    assert err.endswith("; the sound ended\n")


def test_files_for_annotators(run: Run, bundle_folder: Path, talk: Path, tmp_path: Path) -> None:
    files = [tmp_path / "o" / name for name in ("x.rttm", "x.csv", "x.txt")]
    options = ["--rttm", files[0], "--csv", files[1], "--audacity", files[2]]
    _, out, _ = run("stream", bundle_folder, talk, "--json", *SURE, *options)
    segments = [event for event in map(json.loads, out.splitlines()) if event["type"] == "segment"]
    with files[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [event["label"] for event in segments]
    assert [float(row["start"]) for row in rows] == [event["start"] for event in segments]
    lines = files[0].read_text().splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["SPEAKER", "a_talk", "1", f"{event['start']:.3f}"] for event in segments
    ]
    assert len(files[2].read_text().splitlines()) == len(segments)
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["x.csv", "x.rttm", "x.txt"]


def test_mistakes_are_one_line(fails: Callable[..., str], bundle_folder: Path, talk: Path) -> None:
    ways = r"a sound file, - for PCM on standard input (arecord ... | fdan-edge stream BUNDLE -), or --mic"
    assert fails("stream", bundle_folder) == f"nothing to hear; name {ways}"
    assert fails("stream", bundle_folder, talk, "--mic").endswith(f"choose {ways}")
    assert fails("stream") == f"nothing to hear; name {ways}"
    assert fails("stream", bundle_folder, talk, "--rate", "8000").startswith("--rate, --channels and --format")
    assert fails("stream", bundle_folder, "-", "--realtime").startswith("--realtime is for files")
    assert fails("stream", bundle_folder, "-", "--format", "s12").startswith("unknown format 's12'")
    assert fails("stream", bundle_folder, talk, "--vad", "sliero").startswith("unknown vad 'sliero'")
    assert fails("stream", bundle_folder, talk, "--hop", "0").startswith("hop = 0")
    assert fails("stream", bundle_folder, "nothing.wav") == "nothing.wav: no such file"
    assert fails("stream", talk, talk)


def test_nothing_is_written_over(fails: Callable[..., str], bundle_folder: Path, talk: Path) -> None:
    before = talk.read_bytes()
    assert fails("stream", bundle_folder, talk, "--csv", talk).endswith("is the source too; name another file")
    assert fails("stream", bundle_folder, talk, "--csv", "x", "--rttm", "./x").endswith(
        "is --rttm too; name another file"
    )
    assert talk.read_bytes() == before
    assert not list(talk.parent.glob("*.part"))


def test_devices_need_no_bundle(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from fdan_edge.streaming import microphone

    monkeypatch.setattr(microphone, "input_devices", lambda: [(1, "USB [x]", True), (12, "Other", False)])
    assert run("stream", "--list-devices") == (0, "  1  USB [x]  (the default)\n 12  Other\n", "")
    monkeypatch.setattr(microphone, "input_devices", list)
    assert run("stream", "--list-devices")[1] == "no microphone on this machine\n"


def test_seconds(run: Run, bundle_folder: Path, talk: Path) -> None:
    _, out, _ = run("stream", bundle_folder, talk, "--json", "--seconds", "1.5", *SURE)
    assert json.loads(out.splitlines()[-1]) == {
        "type": "ended",
        "time": 1.5,
        "reason": "1.5 s were asked for",
    }


@pytest.mark.parametrize("header", [True, False])
def test_a_pipe_gives_what_the_file_gives(run: Run, bundle_folder: Path, tmp_path: Path, header: bool) -> None:
    soundfile.write(tmp_path / "talk.wav", TALK, 16_000)
    expected = run("stream", bundle_folder, tmp_path / "talk.wav", "--json", *SURE)[1]
    data = (tmp_path / "talk.wav").read_bytes() if header else pcm(TALK)
    out, err = program(bundle_folder, "-", "--json").communicate(data, timeout=60)
    assert err == b""
    got = [json.loads(line) for line in out.splitlines()]
    assert [(event["type"], event.get("label")) for event in got] == [
        (event["type"], event.get("label")) for event in map(json.loads, expected.splitlines())
    ]
    assert all(event["latency"] >= 0 for event in got if event["type"] == "result" and not event["final"])


def test_events_come_while_the_pipe_is_open_and_ctrl_c_ends_it(bundle_folder: Path, tmp_path: Path) -> None:
    process = program(bundle_folder, "-", "--json", "--csv", tmp_path / "x.csv")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pcm(TALK[: round(3.2 * 16_000)]))
    process.stdin.flush()
    while json.loads(process.stdout.readline())["type"] != "segment":
        pass
    assert len((tmp_path / "x.csv.part").read_text().splitlines()) == 2
    process.send_signal(signal.SIGINT)
    out = process.stdout.read()  # while standard input stays open
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == b""
    assert json.loads(out.splitlines()[-1])["reason"] == "stopped"
    assert (tmp_path / "x.csv").read_text().count("\n") >= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_on_a_terminal_that_closes_the_files_are_kept(
    bundle_folder: Path, talk: Path, tmp_path: Path, number: signal.Signals
) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "fdan_edge", "stream", str(bundle_folder), str(talk), "--realtime", *SURE]
    process = subprocess.Popen(
        [*words, "--csv", str(tmp_path / "x.csv")], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while b"Ctrl-C ends" not in seen:
        seen += os.read(ours, 65_536)
    if number == signal.SIGHUP:
        os.close(ours)
    process.send_signal(number)
    if number == signal.SIGTERM:
        while b"stopped" not in seen:
            seen += os.read(ours, 65_536)
        os.close(ours)
        assert b"\x1b[?1049l" in seen  # the screen is given back
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "x.csv").exists()


def test_nobody_reads_any_more(bundle_folder: Path, talk: Path, tmp_path: Path) -> None:
    process = program(bundle_folder, talk, "--json", "--realtime", "--csv", tmp_path / "x.csv")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process:
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""
    assert (tmp_path / "x.csv").exists()


def test_a_file_that_breaks_off(run: Run, bundle_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, np.tile(TALK, 12), 16_000)
    data = bytearray(path.read_bytes())
    data[-40_000:-20_000] = bytes(20_000)
    path.write_bytes(data)
    code, out, err = run("stream", bundle_folder, path, "--json", *SURE)
    assert code == 1
    assert json.loads(out.splitlines()[-1])["reason"] in err
    assert err.startswith(f"error: {path}: is cut short or damaged")


def test_no_bundle_and_no_sound_are_mistakes(bundle_folder: Path) -> None:
    process = program(bundle_folder, "-")
    out, err = process.communicate(b"", timeout=60)
    assert (process.returncode, out, err) == (2, b"", b"error: standard input: no sound came\n")


def test_the_summary_says_what_was_lost() -> None:
    summary = stream.Summary()
    segments = [Segment(0.0, 1.0, "sad", 1.0, {}), Segment(1.0, 4.5, "happy", 1.0, {})]
    summary([*segments, Lost(4.5, 1.0, "why"), Lost(6.5, 0.5, "why"), Ended(3700.0, "over")])
    assert str(summary) == "heard 1:01:40: happy 3.5 s, sad 1.0 s; lost 1.5 s (why); over"


def test_what_is_wrong_with_the_sound(run: Run, bundle_folder: Path, tmp_path: Path) -> None:
    """In plain lines on standard error and in the summary; as an event in JSON."""
    path = tmp_path / "dead.wav"
    soundfile.write(path, np.full(5 * 16_000, 0.1), 16_000, subtype="FLOAT")
    code, out, err = run("stream", bundle_folder, path, *SURE)
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "0:03.0  only DC: a constant offset of 0.1 and no sound; is the microphone broken?",
        "heard 0:05: no speech; input: only DC; the sound ended",
    ]
    code, out, err = run("stream", bundle_folder, path, "--json", *SURE)
    assert (code, err) == (0, "")
    warning = json.loads(out.splitlines()[0])
    assert warning == {"type": "warning", "time": 3.0, "problem": "only DC", "value": pytest.approx(0.1)}


def test_a_float_file_of_whole_numbers(run: Run, bundle_folder: Path, talk: Path, tmp_path: Path) -> None:
    path, samples = tmp_path / "x.wav", soundfile.read(talk)[0]
    soundfile.write(path, samples * 32768, 16_000, subtype="FLOAT")
    code, expected, _ = run("stream", bundle_folder, talk, *SURE)
    code, out, err = run("stream", bundle_folder, path, *SURE)
    assert (code, out) == (0, expected)
    assert "taken for whole numbers with a full scale of 32768" in err


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0:00.0"), (59.96, "1:00.0"), (3725.5, "1:02:05.5")])
def test_the_clock(seconds: float, text: str) -> None:
    assert stream.clock(seconds, 1) == text


def test_the_runtime_needs_no_torch(bundle_folder: Path, talk: Path) -> None:
    script = (
        "import sys; from fdan_edge.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'librosa', 'onnx', 'scipy') if name in sys.modules])"
    )
    words = [sys.executable, "-c", script, "stream", str(bundle_folder), str(talk), *SURE]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.splitlines()[-1] == "[]"
