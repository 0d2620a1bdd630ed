"""Many WebSocket clients at once: what `fdan-edge serve` holds, and what it does beyond.

    python benchmarks/serve.py BUNDLE --speech corpus:path [--clients 1 10 50 200] [--seconds 40] [--json OUT.json]

The server and all clients are on this machine and share its cores. Each client sends recordings, with pauses, in
blocks of 100 ms at the speed of sound, from a place of its own, and notes when each result comes: the time since
the block that held the last sample of the result's window was sent. Times and losses are of the clients that were
heard to the end, from their 12th second on; the others were turned away, at once or later.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

RATE = 16000
BLOCK = 1600  # samples, 100 ms
PAUSE = 1.5  # s between recordings
BEGIN, SETTLED = 3.0, 12.0  # s: over which clients begin, and of each after which is measured
MINUTES = 4.0  # of sound, which clients begin at places of their own
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Tally:
    """What all clients of a round met."""

    heard: int = 0  # clients, to the end
    turned_away: int = 0  # told to try again later
    broken: int = 0
    lost: float = 0.0  # s
    sent: float = 0.0  # s
    late: list[float] = field(default_factory=list)  # s from sending to result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--speech", default="synthetic:", help="corpus:path")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10, 50, 200])
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sound = _sound(options.speech)
    rounds = []
    titles = ("clients", "heard", "away", "results/s", "p50 ms", "p99 ms", "lost", "server", "clients")
    print("".join(f"{title:>10}" for title in titles))
    for count in options.clients:
        with _server(options.bundle, max(options.clients)) as (port, process):
            before, own = _cpu(process.pid), time.process_time()
            tally = asyncio.run(_round(port, count, options.seconds, sound))
            elapsed = options.seconds
            used = (_cpu(process.pid) - before) / elapsed, (time.process_time() - own) / elapsed
        rounds.append(_row(count, tally, elapsed, used))
        _show(rounds[-1])
    if options.json:
        values = {
            "bundle": options.bundle.name,
            "seconds": options.seconds,
            "rounds": rounds,
            "machine": machine_info(),
        }
        write_json(options.json, values)


def _sound(speech: str) -> NDArray[np.float32]:
    """Recordings with pauses."""
    from fdan_edge.data.corpora import parse_source, read

    parts, length = list[NDArray[np.float32]](), 0
    items = list(read(parse_source(speech), "speech"))
    for index in np.random.default_rng(0).permutation(len(items)):
        parts += [decode.load(items[index].path, RATE), np.zeros(round(PAUSE * RATE), np.float32)]
        length += len(parts[-2]) + len(parts[-1])
        if length > MINUTES * 60 * RATE:
            break
    return np.concatenate(parts)


@contextlib.contextmanager
def _server(bundle: Path, clients: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server of its own process; its port."""
    command = [sys.executable, "-m", "fdan_edge", "serve", str(bundle), "--port", "0", "--clients", str(clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            line = next(line for line in process.stdout if "http://127.0.0.1:" in line)
            yield int(line.split("http://127.0.0.1:")[1].split("/")[0].split()[0]), process
        finally:
            process.terminate()


async def _round(port: int, count: int, seconds: float, sound: NDArray[np.float32]) -> Tally:
    tally = Tally()
    places = np.random.default_rng(count).integers(0, len(sound), count)
    spread = BEGIN / count
    await asyncio.gather(*(_client(port, sound, at, seconds, i * spread, tally) for i, at in enumerate(places)))
    return tally


async def _client(
    port: int, sound: NDArray[np.float32], place: int, seconds: float, delay: float, tally: Tally
) -> None:
    """One client, from a place in the sound on."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    await asyncio.sleep(delay)
    try:
        async with connect(f"ws://127.0.0.1:{port}/ws", open_timeout=30, max_queue=None) as socket:
            await socket.send(json.dumps({"type": "start", "rate": RATE}))
            ready = json.loads(await socket.recv())
            assert ready["type"] == "ready", ready
            sent: list[float] = []  # when each block went
            own = Tally()
            await asyncio.gather(_send(socket, sound, place, seconds, sent), _receive(socket, sent, own))
            tally.heard += 1
            tally.sent += seconds - SETTLED
            tally.lost += own.lost
            tally.late += own.late
    except ConnectionClosed as closed:
        away = closed.rcvd is not None and closed.rcvd.code == 1013
        tally.turned_away, tally.broken = tally.turned_away + away, tally.broken + (not away)
    except (OSError, TimeoutError):
        tally.broken += 1


async def _send(socket: Any, sound: NDArray[np.float32], place: int, seconds: float, sent: list[float]) -> None:
    begun = time.perf_counter()
    for number in range(round(seconds * RATE / BLOCK)):
        await asyncio.sleep(begun + (number + 1) * BLOCK / RATE - time.perf_counter())
        at = (place + number * BLOCK) % (len(sound) - BLOCK)
        sent.append(time.perf_counter())
        await socket.send(sound[at : at + BLOCK].tobytes())
    await socket.send(json.dumps({"type": "stop"}))


async def _receive(socket: Any, sent: list[float], tally: Tally) -> None:
    async for text in socket:
        now, event = time.perf_counter(), json.loads(text)
        if event.get("time", 0) < SETTLED:
            continue
        if event["type"] == "result" and not event["final"]:
            block = min(len(sent) - 1, max(0, -(-round(event["time"] * RATE) // BLOCK) - 1))
            tally.late.append(now - sent[block])
        elif event["type"] == "lost":
            tally.lost += event["seconds"]


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _row(count: int, tally: Tally, seconds: float, used: tuple[float, float]) -> dict[str, Any]:
    late = 1000 * np.array(tally.late or [np.nan])
    return {
        "clients": count,
        "heard": tally.heard,
        "turned_away": tally.turned_away,
        "broken": tally.broken,
        "results_per_second": len(tally.late) / (seconds - SETTLED),
        "ms": {name: float(np.percentile(late, p)) for name, p in (("p50", 50), ("p99", 99), ("max", 100))},
        "lost_share": tally.lost / max(tally.sent, 1e-9),
        "server_cores": used[0],
        "client_cores": used[1],
    }


def _show(row: dict[str, Any]) -> None:
    ms, cores = row["ms"], (row["server_cores"], row["client_cores"])
    counts = f"{row['clients']:>10}{row['heard']:>10}{row['turned_away']:>10}{row['results_per_second']:>10.1f}"
    times = f"{ms['p50']:>10.1f}{ms['p99']:>10.1f}{100 * row['lost_share']:>8.1f} %"
    print(counts + times + "".join(f"{used:>10.2f}" for used in cores), flush=True)


if __name__ == "__main__":
    main()
