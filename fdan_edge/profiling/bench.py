"""Latency of any runner, waveform on the host to probabilities on the host. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import BundleError
from fdan_edge.profiling.breakdown import Parts, breakdown
from fdan_edge.profiling.cold_start import ColdStart, cold_start
from fdan_edge.runtime.bundle import Bundle, is_bundle
from fdan_edge.runtime.deploy_targets import known_targets
from fdan_edge.runtime.opening import Variant, variants
from fdan_edge.runtime.runner import Runner
from fdan_edge.utils import gpu
from fdan_edge.utils.progress import track

_BLOCKS = 10
_REST = 0.3  # seconds before a block, in which the other runtime's threads go to sleep
_WARM_UP = 3  # calls before a block's timed ones
_RESAMPLES, _LEVEL = 2000, 0.95
_THROUGHPUT_SECONDS, _THROUGHPUT_CALLS = 0.5, 5  # at least, of each batch size
_ENERGY_SECONDS = 2.0  # the counter of a card moves a few times a second only

#: Only where named: the driver does not say whether PyTorch can use its GPU, and its compiler takes a minute for
#: every batch size and in every cold start.
_ASKED_FOR = ("torch-cuda", "torch-compile")

#: Seconds of the calls of each block.
Blocks = list[list[float]]


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with an interval at 95 %."""

    value: float
    low: float
    high: float

    @property
    def told(self) -> bool:
        """Whether there is a difference: the interval does not hold 1."""
        return not self.low <= 1 <= self.high


@dataclass(frozen=True)
class Latency:
    """Times of one runner; milliseconds unless named otherwise."""

    target: str
    artifact: str
    precision: str
    runtime: str
    runner: str
    batch: int
    seconds_of_audio: float  # heard per call
    runs: int
    min: float
    p50: float
    p95: float
    p99: float
    max: float
    real_time_factor: float  # p50 over the audio's length: below 1 is faster than real time
    ratio: Ratio | None = None  # of medians, to the first row
    parts: Parts = field(default_factory=dict)  # of a call, as far as the runtime tells
    start: ColdStart | None = None
    file_bytes: int | None = None
    throughput: dict[int, float] = field(default_factory=dict)  # batch -> windows per second
    energy_mj: float | None = None  # of the first GPU for one call; None where NVML does not tell

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, rounded to what a clock can tell."""
        values: dict[str, Any] = rounded(asdict(self))
        return values


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    runs: int = 50  # timed calls of each
    batch: int = 1  # windows per call
    batches: tuple[int, ...] = ()  # sizes to measure throughput at
    threads: int = 0  # of the runners and the cold starts; 0: all cores
    starts: int = 3  # cold starts of each


@dataclass(frozen=True)
class Timed:
    """A row and the times that it was made of, for further comparisons."""

    row: Latency
    blocks: Blocks


def chosen(
    target: str, runtimes: Sequence[str] = (), precisions: Sequence[str] = (), *, foreign: bool = False
) -> list[Variant]:
    """Return what of a target runs here, or what of that has one of these runtimes and precisions.

    A bundle's artifacts are run as they are meant to be: one made for TensorRT is slow in ONNX Runtime on the CPU.
    That is left out, except where nothing else is left or a runtime or precision was asked for.

    Args:
        target: a bundle, an .onnx file or a run folder.
        runtimes: only these; empty: all.
        precisions: only these; empty: all.
        foreign: take also artifacts by runtimes that they were not made for.

    Raises:
        BundleError: nothing is left.
    """
    available = [
        variant for variant in variants(target) if variant.runtime not in _ASKED_FOR or variant.runtime in runtimes
    ]
    kept = [
        variant
        for variant in available
        if (not runtimes or variant.runtime in runtimes) and (not precisions or variant.precision in precisions)
    ]
    if not kept:
        raise BundleError(_nothing(target, available, runtimes, precisions))
    if foreign or runtimes or precisions:
        return kept
    targets = _targets_of(target)
    return [variant for variant in kept if _is_meant(variant, targets)] or kept


def _nothing(target: str, available: Sequence[Variant], runtimes: Sequence[str], precisions: Sequence[str]) -> str:
    """Return one line that says what was wanted, what there is, and what helps."""
    there = (
        ", ".join(f"{variant.precision or variant.artifact} by {variant.runtime}" for variant in available)
        or "nothing"
    )
    wish = " ".join([*precisions, *runtimes])
    line = f"{target}: nothing {f'of {wish} ' if wish else ''}runs on this machine; it has {there}"
    if {*runtimes} & {*_ASKED_FOR}:
        return f"{line}; {' and '.join(_ASKED_FOR)} want a run folder and a CUDA GPU"
    is_run = (Path(target) / "run.toml").is_file()
    return f"{line}; `fdan-edge export` makes bundles for more" if is_run else line


def _targets_of(target: str) -> dict[str, tuple[str, ...]]:
    """Give the targets of each artifact of a bundle; nothing of a file or a run folder, which do not say."""
    folder = Path(target)
    return {a.file: a.targets for a in Bundle.open(folder).artifacts} if is_bundle(folder) else {}


def _is_meant(variant: Variant, targets: dict[str, tuple[str, ...]]) -> bool:
    """Tell whether the artifact was made for a target of this runtime."""
    known = known_targets(targets.get(variant.artifact, ()))
    return not targets or any(variant.runtime in (target.runtime, *target.also) for target in known)


def bench(contenders: Sequence[tuple[Variant, Runner]], plan: Plan = Plan()) -> list[Timed]:
    """Time runners against each other, in turn by blocks, so that drift meets all alike.

    Blocks, not single calls: the threads of one runtime spin for a while after a call, waiting for the next,
    and take the cores from another's (measured: PyTorch at 71 ms by turns with ONNX Runtime, 24 ms alone).

    Args:
        contenders: what runs, and the same open.
        plan: how much is measured.
    """
    blocks = _times(contenders, plan)
    rows = []
    for (variant, runner), own in track(list(zip(contenders, blocks, strict=True)), "parts, memory"):
        time.sleep(_REST)
        ratio = None if own is blocks[0] else ratio_of(own, blocks[0])
        rows.append(Timed(_latency(variant, runner, own, ratio, plan), own))
    return rows


def _times(contenders: Sequence[tuple[Variant, Runner]], plan: Plan) -> list[Blocks]:
    chance = np.random.default_rng(0)
    inputs = [_noise(chance, plan.batch, runner.spec.window) for _, runner in contenders]
    blocks: list[Blocks] = [[] for _ in contenders]
    for block in track(np.array_split(np.arange(plan.runs), min(_BLOCKS, plan.runs)), "timing"):
        for index, (_, runner) in enumerate(contenders):
            time.sleep(_REST)
            blocks[index].append(time_block(runner, inputs[index], len(block)))
    return blocks


def time_block(runner: Runner, windows: NDArray[np.float32], calls: int) -> list[float]:
    """Return seconds of each of `calls` calls, after some that warm up caches, clocks and threads."""
    seconds = []
    for call in range(-_WARM_UP, calls):
        start = time.perf_counter()
        runner.predict(windows)
        if call >= 0:
            seconds.append(time.perf_counter() - start)
    return seconds


def ratio_of(ours: Blocks, theirs: Blocks, seed: int = 0) -> Ratio:
    """Return our median over theirs, with a percentile interval by a bootstrap in two stages.

    Blocks are drawn, for both the same because they were timed in turn, and within these calls. So the drift of
    a machine, which blocks share, is not taken for a difference, nor many calls of a block for many witnesses.
    """
    chance = np.random.default_rng(seed)
    picked = chance.integers(len(ours), size=(_RESAMPLES, len(ours)))
    drawn = _medians(ours, picked, chance) / _medians(theirs, picked, chance)
    low, high = np.percentile(drawn, [50 * (1 - _LEVEL), 50 * (1 + _LEVEL)])
    return Ratio(float(np.median(_flat(ours)) / np.median(_flat(theirs))), float(low), float(high))


def _medians(blocks: Blocks, picked: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.float64]:
    """Return the median of each draw of blocks, (resamples,)."""
    sizes = np.array([len(block) for block in blocks])
    table = np.zeros((len(blocks), sizes.max()))
    for row, block in zip(table, blocks, strict=True):
        row[: len(block)] = block
    calls = chance.random((*picked.shape, sizes.max())) * sizes[picked][..., None]
    drawn = table[picked[..., None], calls.astype(int)]
    return np.asarray(np.median(drawn.reshape(len(picked), -1), axis=1))


def throughput(runner: Runner, batch: int) -> float:
    """Return windows per second in calls of `batch` windows, by the median call."""
    windows = _noise(np.random.default_rng(batch), batch, runner.spec.window)
    time_block(runner, windows, 0)
    seconds: list[float] = []
    while sum(seconds) < _THROUGHPUT_SECONDS or len(seconds) < _THROUGHPUT_CALLS:
        start = time.perf_counter()
        runner.predict(windows)
        seconds.append(time.perf_counter() - start)
    return batch / float(np.median(seconds))


def energy_of_call(runner: Runner, windows: NDArray[np.float32]) -> float | None:
    """Measure the first GPU's millijoules for a call, those at rest included; None where NVML does not tell."""
    begin, start, calls = gpu.energy(), time.perf_counter(), 0
    if begin is None:
        return None
    while time.perf_counter() - start < _ENERGY_SECONDS:
        runner.predict(windows)
        calls += 1
    end = gpu.energy()
    return None if end is None else 1000 * (end - begin) / calls


def file_size(variant: Variant) -> int | None:
    """Return bytes of the file that is run; None for a run folder."""
    path = Path(variant.target)
    path = path / variant.artifact if path.is_dir() and variant.artifact else path
    return path.stat().st_size if path.is_file() else None


def _noise(chance: np.random.Generator, batch: int, window: int) -> NDArray[np.float32]:
    return (0.1 * chance.standard_normal((batch, window))).astype(np.float32)


def _flat(blocks: Blocks) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(block) for block in blocks])


def _latency(variant: Variant, runner: Runner, blocks: Blocks, ratio: Ratio | None, plan: Plan) -> Latency:
    milliseconds = 1000 * _flat(blocks)
    p50, p95, p99 = (float(v) for v in np.percentile(milliseconds, [50, 95, 99]))
    seconds = plan.batch * runner.spec.window / runner.spec.sample_rate
    windows = _noise(np.random.default_rng(0), plan.batch, runner.spec.window)
    on_gpu = variant.runtime not in ("torch", "onnxruntime-cpu")
    start = (variant.target, variant.wish or "", variant.runtime, plan.threads, plan.starts)
    return Latency(
        target=variant.target,
        artifact=variant.artifact,
        precision=variant.precision,
        runtime=variant.runtime,
        runner=runner.name,
        batch=plan.batch,
        seconds_of_audio=seconds,
        runs=len(milliseconds),
        min=float(milliseconds.min()),
        p50=p50,
        p95=p95,
        p99=p99,
        max=float(milliseconds.max()),
        real_time_factor=p50 / 1000 / seconds,
        ratio=ratio,
        parts=breakdown(variant, runner, windows, p50, plan.threads),
        start=cold_start(*start) if plan.starts else None,
        file_bytes=file_size(variant),
        throughput={batch: throughput(runner, batch) for batch in plan.batches},
        energy_mj=energy_of_call(runner, windows) if on_gpu else None,
    )


def rounded(value: Any) -> Any:
    """Return the same with every float to five decimals, names of entries as text."""
    if isinstance(value, dict):
        return {str(name): rounded(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(entry) for entry in value]
    return round(value, 5) if isinstance(value, float) else value
