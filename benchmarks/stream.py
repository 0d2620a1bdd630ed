"""An hour of speech through the streaming engine, as fast as it goes on one core.

    python benchmarks/stream.py BUNDLE --speech ravdess:../shared/data/ravdess [--run RUN] [--json OUT.json]

The hour is made of recordings that the model was not trained on, each followed by a pause, in four quarters: as
they are, and with pink noise at 20, 10 and 5 dB below the level of the speech. Reported are the time per second of
sound, the time from the last sample of a window to its event, the growth of memory after the first minute, the
voice activity detection against where the clean recordings are within 40 dB of their loudest frame, and how well
each recording is recognised. Without --speech synthetic voices are taken, of which only the times mean something.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.audio.windows import trim
from fdan_edge.evaluation.metrics import score
from fdan_edge.runtime.opening import open_runner, open_stream_runner
from fdan_edge.streaming import Stream, StreamSettings
from fdan_edge.streaming.events import UNKNOWN, Result, to_dict
from fdan_edge.utils import messages
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info
from fdan_edge.utils.progress import bar

if TYPE_CHECKING:
    from fdan_edge.data.corpora import Item

SNRS = (None, 20, 10, 5)  # dB; None: as recorded
PAUSES = (0.8, 3.0)  # s after each recording, beside its own quiet ends
BLOCK = 0.02  # s that arrive at once
GRID = 0.01  # s, in which voice activity is compared
MINUTE = 60.0

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """One recording in the hour; seconds since its start."""

    emotion: str
    start: float  # of its speech
    end: float
    snr: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--speech", default="synthetic:", help="corpus:path")
    parser.add_argument("--run", type=Path, help="run folder of a bundle that was moved")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--vad", default="auto")
    parser.add_argument("--hop", type=float, default=0.25)
    parser.add_argument("--precision")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_runner(options.bundle, 1) as runner:
        sound, spec = Path(folder) / "hour.f32", runner.spec
        items, part = _items(options, spec.labels)
        truth = write_hour(sound, items, spec.sample_rate, options.minutes * 60)
        settings = StreamSettings(hop=options.hop, vad=options.vad)
        # A process of its own, whose memory is the stream's alone.
        child = multiprocessing.get_context("spawn").Process(
            target=play, args=(options.bundle, options.precision, settings, sound)
        )
        child.start()
        child.join()
        made = json.loads(sound.with_suffix(".json").read_text())
        events = [json.loads(line) for line in sound.with_suffix(".jsonl").read_text().splitlines()]
    made |= {"bundle": options.bundle.name, "speech": part, "quality": quality(truth, events, spec.labels)}
    show(made)
    if options.json:
        write_json(options.json, {**made, "machine": machine_info()})


def _items(options: argparse.Namespace, labels: tuple[str, ...]) -> tuple[list[Item], str]:
    """Recordings to play, and what they are."""
    from fdan_edge.data.corpora import parse_source
    from fdan_edge.data.speech import choose_part, read_labelled_speech
    from fdan_edge.evaluation.score_model import run_folder
    from fdan_edge.runs.run_folder import load_split

    source = parse_source(options.speech)
    items = read_labelled_speech([source], calm_as_neutral="calm" not in labels, boredom="boredom" in labels)
    items = [item for item in items if item.emotion in labels]
    folder = run_folder(options.bundle, options.run)
    return choose_part(items, load_split(folder), "test") if folder else (items, "all given speech, heard or not")


def write_hour(path: Path, items: list[Item], rate: int, seconds: float) -> list[Utterance]:
    """The sound as raw float32, and what is in it."""
    random, truth, at = np.random.default_rng(0), list[Utterance](), 0
    order = itertools.chain.from_iterable(random.permutation(len(items)) for _ in itertools.count())
    with path.open("wb") as file, bar() as progress:
        task = progress.add_task("make the hour", total=round(seconds))
        for number, snr in enumerate(SNRS):
            while at < (number + 1) * seconds / len(SNRS) * rate:
                item = items[next(order)]
                clean = decode.load(item.path, rate)
                first, last = _voiced(clean)
                truth.append(Utterance(item.emotion, (at + first) / rate, (at + last) / rate, snr))
                mixed = _with_noise(clean, slice(first, last), rate, snr, random)
                file.write(mixed.tobytes())
                at += len(mixed)
                progress.update(task, completed=at // rate)
    return truth


def _with_noise(clean: Samples, voiced: slice, rate: int, snr: int | None, random: np.random.Generator) -> Samples:
    """A recording and a pause, in noise."""
    pause = np.zeros(round(random.uniform(*PAUSES) * rate), np.float32)
    mixed = np.concatenate([clean, pause])
    if snr is not None:
        level = np.sqrt(np.square(clean[voiced], dtype=np.float64).mean())
        mixed = mixed + level * 10 ** (-snr / 20) * pink(len(mixed), random)
    return np.asarray(mixed.clip(-1, 1), np.float32)


def _voiced(clean: Samples) -> tuple[int, int]:
    """First and last sample of a recording's speech: the ends that training cuts are none."""
    kept = trim(clean, 40.0)
    first = (kept.ctypes.data - clean.ctypes.data) // clean.itemsize
    return first, first + len(kept)


def pink(length: int, random: np.random.Generator) -> Samples:
    """Noise with equal power in each octave, of mean power 1."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    made = np.fft.irfft(spectrum, length)
    return np.asarray(made / np.sqrt(np.square(made).mean()), np.float32)


def play(bundle: Path, precision: str | None, settings: StreamSettings, sound: Path) -> None:
    """Push a file's samples by the block on one core; events go to a file beside it, and what it cost."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    latencies, memory = array("d"), list[int]()
    wall = cpu = 0.0
    with open_stream_runner(bundle, 1, artifact=precision) as runner, sound.open("rb") as file:
        stream, name = Stream(runner, settings), runner.name
        size = round(BLOCK * stream.rate)
        with sound.with_suffix(".jsonl").open("w") as told:
            for number in itertools.count(1):
                samples = np.frombuffer(file.read(4 * size), np.float32)
                began, began_cpu = time.perf_counter(), time.process_time()
                events = stream.push(samples) if len(samples) else stream.finish()
                taken = time.perf_counter() - began
                wall, cpu = wall + taken, cpu + time.process_time() - began_cpu
                latencies.extend([taken] * any(isinstance(event, Result) for event in events))
                told.writelines(json.dumps(to_dict(event)) + "\n" for event in events if event.type != "result")
                if not len(samples):
                    break
                if number * BLOCK % MINUTE < BLOCK / 2:
                    memory.append(_resident())
    milliseconds = 1000 * np.array(latencies)
    p50, p99, most = (float(value) for value in np.percentile(milliseconds, (50, 99, 100)))
    values = {
        "runner": name,
        "vad": stream.vad_name,
        "hop": stream.hop,
        "unknown_below": stream.unknown_below,
        "seconds": stream.time,
        "real_time_factor": wall / stream.time,
        "cpu_share": cpu / stream.time,
        "results": len(latencies),
        "ms_to_event": {"p50": p50, "p99": p99, "max": most},
        "memory_bytes": memory,  # after each minute
        "memory_growth_bytes": max(memory) - memory[0],
    }
    write_json(sound.with_suffix(".json"), values)


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def quality(truth: list[Utterance], events: list[dict[str, Any]], labels: tuple[str, ...]) -> dict[str, Any]:
    """Voice activity and emotions of each quarter."""
    named = {"clean" if snr is None else f"{snr} dB": [one for one in truth if one.snr == snr] for snr in SNRS}
    return {name: _quality(part, events, labels) for name, part in named.items()}


def _quality(part: list[Utterance], events: list[dict[str, Any]], labels: tuple[str, ...]) -> dict[str, Any]:
    begin, end = part[0].start - PAUSES[0], part[-1].end + PAUSES[0]
    grid = np.arange(begin, end, GRID)
    spoken = _covered(grid, [(one.start, one.end) for one in part])
    found = _covered(grid, _speeches(events))
    segments = [one for one in events if one["type"] == "segment" and one["end"] > begin and one["start"] < end]
    told = [_told(one, segments, labels) for one in part]
    known = [(one.emotion, label) for one, (label, shown) in zip(part, told, strict=True) if shown != UNKNOWN]
    return {
        "utterances": len(part),
        "missed_speech": float((spoken & ~found).sum() / spoken.sum()),
        "false_speech": float((~spoken & found).sum() / (~spoken).sum()),
        "missed_utterances": sum(not label for label, _ in told),
        "uar": _uar([(one.emotion, label) for one, (label, _) in zip(part, told, strict=True)], labels),
        "known": len(known) / len(part),
        "uar_of_known": _uar(known, labels),
    }


def _speeches(events: list[dict[str, Any]]) -> list[tuple[float, float]]:
    begins = [one["time"] for one in events if one["type"] == "speech"]
    ends = [one["time"] for one in events if one["type"] == "silence"]
    return list(zip(begins, ends, strict=True))


def _covered(grid: NDArray[np.float64], spans: list[tuple[float, float]]) -> NDArray[np.bool_]:
    covered = np.zeros(len(grid), bool)
    for start, end in spans:
        first, last = np.searchsorted(grid, (start, end))
        covered[first:last] = True
    return covered


def _told(one: Utterance, segments: list[dict[str, Any]], labels: tuple[str, ...]) -> tuple[str, str]:
    """Of an utterance the likeliest label over its segments, and the label that was shown longest."""
    mean, shown = np.zeros(len(labels)), dict.fromkeys((*labels, UNKNOWN), 0.0)
    for segment in segments:
        overlap = min(one.end, segment["end"]) - max(one.start, segment["start"])
        if overlap > 0:
            mean += overlap * np.array([segment["probabilities"][label] for label in labels])
            shown[segment["label"]] += overlap
    if not mean.any():
        return "", UNKNOWN
    return labels[int(mean.argmax())], max(shown, key=lambda label: shown[label])


def _uar(pairs: list[tuple[str, str]], labels: tuple[str, ...]) -> float | None:
    """Mean recall of the classes; an utterance that was not heard is wrong."""
    names = [*labels, ""]
    if not pairs:
        return None
    return score([names.index(true) for true, _ in pairs], [names.index(told) for _, told in pairs], names).uar


def show(made: dict[str, Any]) -> None:
    """A table for people."""
    ms = made["ms_to_event"]
    print(
        f"{made['bundle']}, {made['runner']}, {made['vad']}, hop {1000 * made['hop']:.0f} ms, one core\n"
        f"{made['seconds'] / 60:.1f} minutes, {made['speech']}\n"
        f"real-time factor {made['real_time_factor']:.4f}, CPU share {made['cpu_share']:.4f}\n"
        f"last sample to event: p50 {ms['p50']:.1f} ms, p99 {ms['p99']:.1f} ms, max {ms['max']:.1f} ms "
        f"({made['results']} results)\n"
        f"memory after the first minute: +{made['memory_growth_bytes'] / 2**20:.2f} MiB "
        f"({made['memory_bytes'][-1] / 2**20:.0f} MiB in all)\n"
    )
    print(f"{'noise':<7}{'missed':>8}{'false':>8}{'UAR':>8}{'known':>8}{'UAR of known':>14}")
    for name, one in made["quality"].items():
        shares = [one[key] for key in ("missed_speech", "false_speech", "uar", "known", "uar_of_known")]
        cells = ["—" if share is None else f"{100 * share:.1f} %" for share in shares]
        print(f"{name:<7}{cells[0]:>8}{cells[1]:>8}{cells[2]:>8}{cells[3]:>8}{cells[4]:>14}")


if __name__ == "__main__":
    with messages.shown():
        main()
