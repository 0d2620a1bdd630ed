"""The commands that are recorded: every verb, on small synthetic corpora."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.golden.recorder import (
    BENCHED,
    BUNDLE,
    EPOCH,
    ONCE,
    ORIGIN,
    RATE,
    SHARED,
    TABLE,
    TRAINED,
    TUNED,
    Recorder,
    parsed,
    settings_of,
    tell,
    without,
)


def corpora(to: Recorder) -> None:
    """Make the synthetic corpus, and from its files small ones in other layouts; look at all of them."""
    to.run("scan-synthetic", "data", "scan", "synthetic:", "--json")
    made = next((to.work / "cache").glob("*/synthetic-*"))
    hashes = {str(p.relative_to(made)): to.digest(p) for p in sorted(made.rglob("*")) if p.is_file()}
    to.write("synthetic.files.json", hashes)
    _few(made / "speech", to.work / "few")
    _far(made / "speech", to.work / "far")
    own = to.work / "own"
    own.mkdir()
    for number, path in enumerate(sorted((made / "speech" / "s10").iterdir())[::2]):
        shutil.copy(path, own / f"recording {number:02}.flac")
    faces = to.work / "fer"
    for path in sorted((made / "faces").glob("*/*.png")):
        if int(path.stem) < 4:
            target = faces / ("test" if path.stem == "003" else "train") / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    to.run("scan", "data", "scan", "folder:few/labels.csv", "emodb:far", "unlabelled:own", "fer2013:fer", "--json")
    _broken(to.work / "far", to.work / "broken")
    to.run("scan-broken", "data", "scan", "emodb:broken", "--json")
    to.run("scan-text", "data", "scan", "emodb:broken")


def _few(speech: Path, to: Path) -> None:
    """A folder with a table: 6 speakers, 7 emotions, 2 voices of each."""
    to.mkdir()
    lines = [("path", "emotion", "speaker", "text")]
    for path in sorted(speech.glob("s0[0-5]/*-0[01].flac")):
        name = f"{path.parent.name}-{path.name}"
        shutil.copy(path, to / name)
        emotion, _, index = path.stem.partition("-")
        lines.append((name, emotion, path.parent.name, index))
    with (to / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def _far(speech: Path, to: Path) -> None:
    """EMO-DB's layout: 4 other speakers, 6 emotions, 2 voices of each."""
    letters = {"angry": "W", "disgust": "E", "fear": "A", "happy": "F", "sad": "T", "neutral": "N"}
    speakers = {"s06": "03", "s07": "08", "s08": "09", "s09": "10"}
    (to / "wav").mkdir(parents=True)
    for path in sorted(speech.glob("s0[6-9]/*-0[01].flac")):
        emotion, _, index = path.stem.partition("-")
        if emotion in letters:
            shutil.copy(path, to / "wav" / f"{speakers[path.parent.name]}a{index}{letters[emotion]}a.flac")


def _broken(sound: Path, to: Path) -> None:
    """The same layout with a file cut short, an empty one, one that is there twice, and one without label."""
    (to / "wav").mkdir(parents=True)
    files = sorted((sound / "wav").iterdir())[:6]
    for path in files:
        shutil.copy(path, to / "wav")
    cut = to / "wav" / files[0].name
    cut.write_bytes(cut.read_bytes()[:3000])
    (to / "wav" / files[1].name).write_bytes(b"")
    shutil.copy(files[2], to / "wav" / "16b10Fa.flac")
    shutil.copy(files[3], to / "wav" / "notes.flac")


def trainings(to: Recorder) -> None:
    """Voices alone, with faces, and towards a corpus without labels; scores; comparison of runs."""
    speech, faces = ("--speech", "synthetic:"), ("--faces", "synthetic:")
    towards = ("--speech", "folder:few/labels.csv", "--target", "emodb:far")
    plain = settings_of(*TRAINED, "backbone=vgg8")
    to.run("train-plain", "train", *speech, "--out", "runs/plain", *plain, "--json")
    fdan = settings_of(*TRAINED, "backbone=mobilenet_v2_tiny")
    to.run("train-fdan", "train", *speech, *faces, "--out", "runs/fdan", *fdan, "--json")
    to.run("train-didan", "train", *towards, "--out", "runs/didan", *plain, *settings_of("channel=window"))
    for name in ("plain", "fdan", "didan"):
        to.run_folder(f"train-{name}", f"runs/{name}")
    to.run("data-cache", "data", "cache", "--json")


def searches(to: Recorder) -> None:
    """Many trainings at once: folds, a search, and rows of the paper's tables."""
    few, faces = ("--speech", "folder:few/labels.csv"), ("--faces", "fer2013:fer")
    small = settings_of(*TRAINED, *ONCE)
    rows = settings_of(*(setting for setting in (*TRAINED, *ONCE) if not setting.startswith("seed=")))
    bank = settings_of("backbone=vgg8", "folds=2", "acoustic_path=bank", "bank_per_class=2")
    to.run("crossval", "crossval", *few, *faces, *small, *bank, "--out", "folds", "--json")
    to.files("crossval", "folds", ["*.json", "*.png", "fold-1/split.json", "fold-*/checkpoint.safetensors"])
    space = ("--space", "lr=1e-4..1e-2", "--space", "masks=1,2")
    search = ("--trials", "2", "--folds", "2", "--sampler", "random", *space, *settings_of("backbone=vgg8"))
    to.run("tune", "tune", *few, *search, *small, "--out", "tune", "--json", hide=TUNED)
    to.files("tune", "tune", ["*.toml", "*.md", "*.json"], hide=TUNED)
    to.files("tune-trials", "tune", ["trials/*/*/epochs.jsonl"], hide=EPOCH)
    to.listing("tune", "tune")
    table = (
        "table4",
        *few,
        *faces,
        "--backbone",
        "vgg8",
        "--protocol",
        "random",
        "--rows",
        "plain,fdan_2",
        "--seeds",
        "7",
    )
    to.run("reproduce", "reproduce", *table, "--out", "table", *rows, "--json", hide=TABLE)
    to.files("reproduce", "table", ["*.md", "*/checkpoint.safetensors"])
    folders = ("runs", "folds", "table", "tune")
    to.run("runs", "runs", *folders, "--sort", "uar", "--json", hide=(*ORIGIN, *EPOCH))
    to.run("runs-text", "runs", "runs", "folds")


def bundles(to: Recorder) -> None:
    """Exports, and all that is done with a bundle."""
    wanted = ("--target", "cpu", "--precision", "fp32", "--precision", "int8", "--force", "--triton", "triton")
    to.run("export", "export", "runs/fdan", *wanted, "--out", "bundles/fdan", "--json", hide=BUNDLE)
    to.bundle("export", "bundles/fdan")
    to.files("export-triton", "triton", ["**/*.pbtxt", "**/*.txt", "**/*.md"])
    to.listing("export-triton", "triton")
    (to.work / "voices").mkdir()
    for path in sorted((to.work / "cache").glob("*/synthetic-*/speech/s11/*.flac"))[::2][:20]:
        shutil.copy(path, to.work / "voices")
    alone = ("--threads", "1")
    for precision in ("fp32", "int8"):
        options = ("--precision", precision, *alone, "--json")
        to.run(f"infer-{precision}", "infer", "bundles/fdan", "voices", *options)
        to.run(f"infer-windows-{precision}", "infer", "bundles/fdan", "voices", "--windows", *options)
    to.run("infer-text", "infer", "bundles/fdan", "voices", "own", "none.wav", *alone)
    to.run("infer-windows-text", "infer", "bundles/fdan", "voices", "--windows", *alone)
    to.run("evaluate-bundle", "evaluate", "bundles/fdan", "--speech", "synthetic:", *alone, "--json")
    timed = ("--runs", "5", "--starts", "1", "--batches", "1,2", "--estimate", "rtx4060,orin-nano", *alone)
    to.run("bench", "bench", "bundles/fdan", *timed, "--json", hide=BENCHED, numbers=True)


def streams(to: Recorder) -> None:
    """Live events of recordings, of PCM in a pipe, and of a server."""
    sound = _talk(to.work)
    for voices in ("silero", "energy", "none"):
        options = ("--vad", voices, "--unknown", "0.2", "--json")
        to.run(f"stream-{voices}", "stream", "bundles/fdan", "talk.flac", *options, hide=("latency",))
    files = ("--rttm", "notes/talk.rttm", "--csv", "notes/talk.csv", "--audacity", "notes/talk.txt")
    to.run("stream-text", "stream", "bundles/fdan", "talk.flac", "--precision", "int8", "--vad", "energy", *files)
    to.files("stream-text", "notes", ["*"])
    piped = ("--rate", "16000", "--hop", "0.5", "--seconds", "3", "--vad", "energy", "--unknown", "0", "--json")
    pcm = (sound * 32_767).round().astype("<i2").tobytes()
    to.run("stream-pcm", "stream", "bundles/fdan", "-", *piped, hide=("latency",), stdin=pcm)
    for path in real_recordings():
        (to.work / "real").mkdir(exist_ok=True)
        shutil.copy(path, to.work / "real")
        name = f"real/{path.name}"
        to.run(f"stream-{path.stem}", "stream", "bundles/fdan", name, "--json", hide=("latency",))
    serve(to, sound)


def real_recordings() -> list[Path]:
    """Two of RAVDESS and one of EMO-DB, where they are."""
    found = [
        *sorted(SHARED.glob("ravdess/Actor_01/*.flac"))[4:60:40],
        *sorted(SHARED.glob("emodb/wav/*.flac"))[:1],
    ]
    if not found:
        tell(f"no real recordings in {SHARED}: left out")
    return found


def _talk(work: Path) -> Any:
    """Five voices with pauses between them, as a file and as samples."""
    pause = np.zeros(3 * RATE // 4, np.float32)
    voices = [soundfile.read(p, dtype="float32")[0] for p in sorted((work / "voices").iterdir())[::4]]
    sound = np.concatenate([part for voice in voices for part in (pause, voice)] + [pause])
    soundfile.write(work / "talk.flac", np.stack([sound, sound], axis=1), RATE)
    return sound


def serve(to: Recorder, sound: Any) -> None:
    """A server's words, its pages, and the events that a client hears."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    sure = ("--vad", "energy", "--unknown", "0")
    process = to.start("serve", "bundles/fdan", "--port", "0", *sure, **pipes)
    timer = threading.Timer(120, process.kill)  # whatever happens, it ends
    timer.start()
    assert process.stdout
    assert process.stderr
    lines: list[str] = []
    url = ""
    record: dict[str, Any] = {}
    try:
        while not url and (line := process.stdout.readline().decode()):
            lines.append(line)
            url = line.removeprefix("open ").strip() if line.startswith("open ") else ""
        if url:
            record |= {name: _page(url + name) for name in ("", "card", "health", "metrics", "none")}
            names = re.findall(r'"(static/[^"]+)"', str(record[""]["text"]))
            record |= {name: _page(url + name) for name in names}
            record["events"] = without(_heard(url, sound[: 3 * RATE]), ("latency",))
    finally:
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate()
        timer.cancel()
    port = url.rstrip("/").rpartition(":")[2]
    said = "".join(lines) + rest.decode()
    record |= {"exit": process.returncode, "out": said.replace(port, "<port>").splitlines() if port else said}
    to.write("serve.json", {**record, "err": to.plain(errors).splitlines()})


def _page(url: str) -> Any:
    """Status, headers and text of a page; of figures only the names."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            status, headers, text = answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        status, headers, text = error.code, dict(error.headers), error.read().decode()
    for name in ("date", "etag", "last-modified"):
        headers.pop(name, None)
    if url.endswith("metrics"):
        headers.pop("content-length", None)
        text = "\n".join(re.sub(r" [^ ]+$", " <value>", line) for line in text.splitlines() if line[:1] != "#")
    return {"status": status, "headers": headers, "text": parsed(text)}


def _heard(url: str, sound: Any) -> list[Any]:
    """What the server tells of a sound that is sent as if it were spoken now; sound is lost on a busy machine."""
    events: list[Any] = []
    for _ in range(5):
        try:
            events = _events(url, sound)
        except ConnectionClosed as error:
            events = [str(error)]
        else:
            if not any(event["type"] == "lost" for event in events):
                break
        time.sleep(10)  # until the server takes clients again
    return events


def _events(url: str, sound: Any) -> list[Any]:
    with connect(f"{url.replace('http', 'ws', 1)}ws", origin=Origin(url.rstrip("/"))) as client:
        client.send(json.dumps({"type": "start", "rate": RATE}))
        for begin in range(0, len(sound), RATE // 10):
            client.send(sound[begin : begin + RATE // 10].astype("<f4").tobytes())
            time.sleep(0.1)
        client.send(json.dumps({"type": "stop"}))
        return [json.loads(message) for message in client]
