"""From files to features: without the cache, building it, and reading it; time, memory, size on disk.

    python benchmarks/cache.py --speech ravdess:../shared/data/ravdess --faces fer2013:../shared/data/fer2013 \
                               --before CHECKOUT

Every figure is of a fresh process, by turns with the others for `--rounds` rounds. All rounds are in the result;
where the machine has other work (see the load), seconds of CPU say more than those of the clock. Five sixths of
the speech are training, at three speeds each, the rest validation. `--before` is a checkout of the code without a
cache. The cache lies in a folder that goes when this ends.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, parse_source, read
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.features import extract, store
from fdan_edge.features.parallel import in_parallel
from fdan_edge.models.fdan import build_frontend
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

SETTINGS = ["face_size=64", "backbone=mobilenet_v2"]

#: Code of the processes; what they print last is their result.
BEFORE = """
import json, resource, sys, time
import torch
from fdan_edge import features
from fdan_edge.config import Config
from fdan_edge.corpora import parse_source, read
from fdan_edge.evaluate import read_speech
from fdan_edge.models.fdan import build_frontend
speech, faces, threads, settings = json.loads(sys.argv[1])
torch.set_num_threads(threads)
config = Config.load(None, settings)
items = read_speech([parse_source(speech)], calm_as_neutral=True)
images = read(parse_source(faces), "faces")
start, cpu, at = time.perf_counter(), time.process_time(), 5 * len(items) // 6
train, waves = features.load_recordings(items[:at], config, "training")
val, other = features.load_recordings(items[at:], config, "validation")
frontend = build_frontend(config)
made = features.training_voices(waves, [0] * len(train), frontend, config)
test = features.evaluation_voices(other, [0] * len(val), frontend, config)
pixels = features.load_faces(images, [0] * len(images), config)
values = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({**values, "peak_mib": peak}))
"""
#: Seconds from the command to the first step of a training; those of the processor are with that step.
COMMAND = """
import json, os, sys, time
from functools import partial
from fdan_edge import cli
from fdan_edge.training import run
def stop(_, seconds):
    begun, used = time.time() - float(sys.argv[1]) - seconds, time.process_time()
    print(json.dumps({"seconds": begun, "cpu_seconds": used}), flush=True)
    os._exit(0)
run.train = partial(run.train, on_step=stop)
cli.main(sys.argv[2:])
"""
#: Seconds that were expected on 2 idle cores, from 40 s of the code before on one core; see `one_round`.
PREDICTED = {
    "features": {"before": 28, "uncached": 20, "first": 21, "second": 0.3, "rehashed": 0.6},
    "voices": {"one thread": 32, "threads": 17, "processes": 25},
    "size_mb": 260,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=absolute, required=True)
    parser.add_argument("--faces", type=absolute, required=True)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cache.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments)))
        return
    results: dict[str, dict[str, list[Any]]] = {"features": {}, "command": {}, "voices": {}}
    for _ in range(arguments.rounds):
        one_round(arguments, results)


def one_round(arguments: argparse.Namespace, results: dict[str, dict[str, list[Any]]]) -> None:
    """Every way once; what there is so far is written after each."""

    def note(kind: str, name: str, value: dict[str, Any]) -> None:
        value["load_average"] = os.getloadavg()[0]
        print(f"{kind}, {name}: {value}", flush=True)
        results[kind].setdefault(name, []).append(value)
        values = {"machine": machine_info(), "threads": arguments.threads, "predicted": PREDICTED}
        write_json(arguments.out, {**values, "measured": results})

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FDAN_EDGE_CACHE"] = folder
        for name in ("first", "second"):
            note("features", name, again(arguments, name) | {"size_mb": store.size() / 1e6})
        (Path(folder) / "contents.json").unlink()
        note("features", "rehashed", again(arguments, "rehashed"))
        if arguments.before:
            note("features", "before", before(arguments))
        for name in ("threads", "processes", "one thread"):
            note("voices", name, again(arguments, name))
        os.environ["FDAN_EDGE_CACHE"] = f"{folder}/command"
        for name in ("first", "second"):
            note("command", name, command(arguments, Path.cwd()))
        if arguments.before:
            note("command", "before", command(arguments, arguments.before))
        note("features", "uncached", again(arguments, "uncached"))


def absolute(words: str) -> str:
    """corpus:path with a path that means the same in every folder."""
    source = parse_source(words)
    return f"{source.corpus}:{source.path.resolve() if source.path else ''}"


def before(arguments: argparse.Namespace) -> Any:
    words = json.dumps([arguments.speech, arguments.faces, arguments.threads, SETTINGS])
    return last_line([sys.executable, "-c", BEFORE, words], arguments.before)


def again(arguments: argparse.Namespace, name: str) -> Any:
    words = ["--speech", arguments.speech, "--faces", arguments.faces, "--threads", str(arguments.threads)]
    return last_line([sys.executable, __file__, *words, "--child", name], Path.cwd())


def command(arguments: argparse.Namespace, checkout: Path) -> Any:
    words = ["train", "--speech", arguments.speech, "--faces", arguments.faces]
    settings = [*SETTINGS, f"threads={arguments.threads}", "weights=none"]
    with tempfile.TemporaryDirectory() as run:
        options = [word for setting in settings for word in ("--set", setting)]
        code = [sys.executable, "-c", COMMAND, str(time.time())]
        return last_line([*code, *words, "--out", f"{run}/run", *options], checkout)


def last_line(words: list[str], checkout: Path) -> Any:
    """What a process with the code of this checkout says last, as JSON."""
    own = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run(words, env=own, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(arguments: argparse.Namespace) -> Any:
    """One figure, in the process that it is of."""
    torch.set_num_threads(1 if arguments.child == "one thread" else arguments.threads)
    config = Config.load(None, SETTINGS + ["cache=false"] * (arguments.child == "uncached"))
    items = read_labelled_speech([parse_source(arguments.speech)], calm_as_neutral=True)
    if arguments.child in PREDICTED["voices"]:  # type: ignore[operator]
        return time_voices(items, config, arguments.child, arguments.threads)
    return time_features(items, read(parse_source(arguments.faces), "faces"), config)


def time_features(items: list[Item], images: list[Item], config: Config) -> dict[str, float]:
    """Seconds from items to Voices and Faces, and the most memory that this process has held, in MiB.

    Pages of memory-mapped files count in it, though they can be dropped at any time; `anonymous` is without them.
    """
    start, cpu, at = time.perf_counter(), cpu_seconds(), 5 * len(items) // 6
    kept = [
        extract.training_voices(items[:at], [0] * at, config),
        extract.evaluation_voices(items[at:], [0] * (len(items) - at), config),
        extract.load_faces(images, [0] * len(images), config),
    ]
    values = {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    del kept
    return {**values, "peak_mib": peak, "anonymous_mib": int(lines["RssAnon"].split()[0]) / 1024}


def time_voices(items: list[Item], config: Config, name: str, workers: int) -> dict[str, float]:
    """Seconds for the log-mels of all recordings at three speeds, from a process that has imported everything."""
    start, cpu = time.perf_counter(), cpu_seconds()
    if name == "processes":
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (config,)) as pool:
            made = sum(1 for _ in pool.map(_one, items, chunksize=8))
    else:
        work = partial(extract.voice_features, cut=extract.training_windows, frontend=build_frontend(config))
        made = sum(1 for _ in in_parallel(partial(work, config=config), items, "log-mels"))
    assert made == len(items)
    return {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu}


def cpu_seconds() -> float:
    """Of all threads of this process, and of its children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def _begin(config: Config) -> None:
    torch.set_num_threads(1)
    globals()["_work"] = partial(
        extract.voice_features, cut=extract.training_windows, frontend=build_frontend(config), config=config
    )


def _one(item: Item) -> store.Features:
    made: store.Features = globals()["_work"](item)
    return made


if __name__ == "__main__":
    main()
