"""How often the export's gate is wrong, by number of recordings: sound files refused, broken ones let through.

    python benchmarks/export_gate.py RUN... --out benchmarks/results/export_gate

Each run is lowered to sound files (fp16, int8 of both formats), and to ones that are broken on purpose: wrong
ranges, scales of a layer that are off, a calibration on silence or on one recording, weights of fewer bits. All
run over the run's test part, which should be large: what a file loses there counts as true. Then 30 to 200
recordings are drawn many times, a fifth of them of the test part and the others of the training part, as a small
run has them. Two gates judge: the earlier one, by the loss of UAR alone, and `fdan_edge.export.gate`. Writes
OUT.json and OUT.md. Answers are kept in --answers: the same command again judges them anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fdan_edge.data.corpora import Item, parse_source, recording_key
from fdan_edge.data.speech import pick, read_labelled_speech
from fdan_edge.evaluation.metrics import score
from fdan_edge.export import activation_ranges
from fdan_edge.export.activation_ranges import Histogram, Range
from fdan_edge.export.fp16 import to_half
from fdan_edge.export.gate import (
    DISTANCE,
    LOSS,
    Answers,
    compare,
    distances,
    loss_is_allowed,
    temperature_for,
    total_variation,
)
from fdan_edge.export.int8 import FORMATS, plan, quantize
from fdan_edge.export.precision import CalibrationSet, lower
from fdan_edge.export.recordings import CALIBRATION, ReferenceClips
from fdan_edge.export.to_onnx import export_graph, with_front_end
from fdan_edge.models.fdan import build_frontend
from fdan_edge.runs.run_folder import load_split
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.deploy_targets import U8S8, find_target
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.onnx_session import CPU
from fdan_edge.utils.files import write_bytes, write_json, write_text

COUNTS = (30, 60, 130, 200)
UNSEEN = 5  # one of so many recordings is of the test part
TRAINING = 160  # recordings of the training part
SOUND, BROKEN = (
    1.0,
    2.0,
)  # points of UAR on the whole test part, at most and at least; what is between counts as neither
DRAWS = 200
FEWER_BITS = (5, 4, 3)
RANGES = (0.12, 0.25, 0.5, 4.0, 16.0)
LAYERS = (0.1, 0.5, 0.9)  # places of a layer that is broken, as shares of the depth
SCALES = (0.5, 1.5)
TARGETS = ("cpu", "jetson-jp6")  # whose int8 is of each format
SOUND_FILES = ("fp16", *(f"int8 {find_target(name).int8}" for name in TARGETS))


@dataclass(frozen=True)
class Measured:
    """What PyTorch and files of one run say of recordings: those of the test part first."""

    labels: tuple[str, ...]
    true: list[int]  # of the test part
    speakers: list[str | None]
    expected: NDArray[np.float32]
    files: dict[str, NDArray[np.float32]]

    @property
    def unseen(self) -> int:
        """How many recordings are of the test part."""
        return len(self.true)

    def answers(self) -> Answers:
        """The reference's answers as the gate takes them."""
        trained_on = np.arange(len(self.expected)) >= self.unseen
        accuracy = float((self.expected[: self.unseen].argmax(1) == self.true).mean())
        temperature = temperature_for(self.expected[trained_on], accuracy)
        known = self.true, self.labels, self.speakers
        return Answers(self.expected, *known, "", trained_on=trained_on, temperature=temperature)


@dataclass(frozen=True)
class File:
    """A file: how far it is from PyTorch, and what it loses on the whole test part."""

    run: str
    name: str
    precision: str
    distance: float  # mean over the test part
    seen: float  # over recordings of the training part
    corrected: float  # the same as the gate corrects it, to be as on unseen ones
    deviation: float  # standard deviation over the mean, on the test part
    flips: float  # share of labels
    loss: float  # points of UAR


@dataclass(frozen=True)
class Row:
    """How often a gate refuses a file, of draws of so many recordings."""

    run: str
    name: str
    precision: str
    clips: int
    earlier: float
    now: float
    by_distance: float  # of these for its distance, whatever it loses


def main() -> None:
    given = arguments()
    files: list[File] = []
    rows: list[Row] = []
    for run in given.runs:
        measured = answers_of(run, given.answers / f"{run.resolve().name}.npz", given.clips)
        files += described(run.resolve().name, measured)
        rows += judged(run.resolve().name, measured)
    write_json(given.out.with_suffix(".json"), {"files": [*map(asdict, files)], "rows": [*map(asdict, rows)]})
    text = f"{table_of_files(files)}\n\n{table_of_gates(files, rows)}\n"
    write_text(given.out.with_suffix(".md"), text)
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="finished runs with a large test part")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/export_gate"))
    parser.add_argument("--answers", type=Path, default=Path("build/export_gate"), help="where answers are kept")
    parser.add_argument("--clips", type=int, default=480, help="of the test part, at most")
    return parser.parse_args()


def answers_of(run: Path, kept: Path, clips: int) -> Measured:
    """Run PyTorch and all files over the recordings; what is kept is not run again."""
    if not kept.exists():
        measure(run, kept, clips)
    with np.load(kept) as values:
        files = {name: values[name] for name in values.files if not name.startswith("_")}
        speakers = [str(name) or None for name in values["_speakers"]]
        labels = tuple(str(name) for name in values["_labels"])
        return Measured(labels, values["_true"].tolist(), speakers, values["_expected"], files)


def measure(run: Path, kept: Path, clips: int) -> None:
    reference = TorchRunner(run)
    test, train = (pick(part, count) for part, count in zip(parts(run, reference), (clips, TRAINING), strict=True))
    recordings = ReferenceClips(test, "", reference, train)
    calibration = recordings.windows[recordings.answers.judged :][:CALIBRATION]
    single = export_graph(reference.path, reference.spec)
    lean = with_front_end(single, build_frontend(reference.config, exact=False), reference.spec.window)
    file = kept.with_suffix(".onnx")
    kept.parent.mkdir(parents=True, exist_ok=True)
    said: dict[str, NDArray[np.float32]] = {}
    for name, graph in lowered(lean, calibration, file):
        write_bytes(file, graph.SerializeToString())
        with OnnxRunner(file, (CPU,)) as runner:
            said[name] = recordings.probabilities(runner)
        print(
            f"{run.name}, {name}: {total_variation(recordings.answers.expected, said[name]).mean():.4f}",
            flush=True,
        )
    file.unlink()
    answers = recordings.answers
    about = {
        "_labels": np.array(answers.labels),
        "_true": np.array(answers.true),
        "_speakers": np.array([name or "" for name in answers.speakers]),
        "_expected": answers.expected,
    }
    np.savez(kept, **about, **said)  # type: ignore[arg-type]  # its options are named parameters


def parts(run: Path, reference: TorchRunner) -> tuple[list[Item], list[Item]]:
    """Read the recordings of the test and the training part."""
    config, split = reference.config, load_split(run)
    sources = [parse_source(text) for text in reference.info.speech]
    items = read_labelled_speech(sources, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom)
    keys = [{recording_key(key) for key in split[name]} for name in ("test", "train")]
    test, train = ([item for item in items if recording_key(item.key) in wanted] for wanted in keys)
    return test, train


def lowered(
    model: onnx.ModelProto, windows: NDArray[np.float32], file: Path
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Give files by name, sound ones first; the name begins with the precision that they say they are of.

    Args:
        model: in fp32.
        windows: (n, window), to calibrate on.
        file: written on the way.
    """
    histograms = histograms_of(model, windows)
    yield "fp16", to_half(model)
    yield "fp16: weights of bfloat16", rounded(model, 8)
    half = len(windows) // 2
    samples = CalibrationSet(windows[:half], windows[half:])
    for target in map(find_target, TARGETS):
        made = lower(model, file, target, "int8", samples)
        yield f"int8 {made.format}", onnx.load(str(file))
        if made.format == U8S8 and made.calibration:
            method = made.calibration.method
    ranges = {name: one.range(method) for name, one in histograms.items()}
    for bits in FEWER_BITS:
        yield f"int8: weights of {bits} bits", fewer_bits(model, bits)
    for factor in RANGES:
        scaled = {name: (factor * low, factor * high) for name, (low, high) in ranges.items()}
        yield f"int8: all ranges x {factor:g}", quantize(model, plan(model, U8S8), scaled, U8S8)
    for place in LAYERS:
        for factor in SCALES:
            whole = quantize(model, plan(model, U8S8), ranges, U8S8)
            yield f"int8: weights of layer {place:g} x {factor:g}", scaled_layer(whole, place, factor)
        yield f"int8: range of tensor {place:g} x 0.1", narrowed(model, ranges, place, 0.1)
    for name, few in (("one recording", windows[:1]), ("silence", 1e-3 * np.ones_like(windows[:2]))):
        wrong = {key: one.range("minmax") for key, one in histograms_of(model, few).items()}
        yield f"int8: calibrated on {name}", quantize(model, plan(model, U8S8), wrong, U8S8)


def histograms_of(model: onnx.ModelProto, windows: NDArray[np.float32]) -> dict[str, Histogram]:
    tensors = {name for form in FORMATS for name in plan(model, form).tensors}
    return activation_ranges.collect(model, tensors, windows)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def weights(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, NDArray[np.float32]]]:
    for tensor in model.graph.initializer:
        if (
            tensor.name.startswith("model.")
            and tensor.data_type == onnx.TensorProto.FLOAT
            and len(tensor.dims) > 1
        ):
            yield tensor, numpy_helper.to_array(tensor)


def rounded(model: onnx.ModelProto, digits: int) -> onnx.ModelProto:
    """Copy a graph, its weights with so many binary digits: 8 are bfloat16's."""
    copy = copied(model)
    for tensor, values in weights(copy):
        fraction, exponent = np.frexp(values)
        whole = np.ldexp(np.round(np.ldexp(fraction, digits)), exponent - digits).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(whole, tensor.name))
    return copy


def fewer_bits(model: onnx.ModelProto, bits: int) -> onnx.ModelProto:
    """Copy a graph, its weights on as many levels as bits give, per output."""
    copy, largest = copied(model), 2 ** (bits - 1) - 1
    for tensor, values in weights(copy):
        step = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / largest
        whole = np.round(values / np.where(step > 0, step, 1)) * step
        tensor.CopyFrom(numpy_helper.from_array(whole.astype(np.float32), tensor.name))
    return copy


def scaled_layer(quantised: onnx.ModelProto, place: float, factor: float) -> onnx.ModelProto:
    """Change the scale of one layer's weights."""
    scales = [t for t in quantised.graph.initializer if t.name.endswith("/weight_scale")]
    tensor = scales[round(place * (len(scales) - 1))]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    return quantised


def narrowed(model: onnx.ModelProto, ranges: dict[str, Range], place: float, factor: float) -> onnx.ModelProto:
    """Quantise with the range of one tensor too narrow."""
    wanted = plan(model, U8S8)
    order = [name for node in model.graph.node for name in node.output if name in wanted.tensors]
    name = order[round(place * (len(order) - 1))]
    low, high = ranges[name]
    return quantize(model, wanted, ranges | {name: (factor * low, factor * high)}, U8S8)


def described(run: str, measured: Measured) -> list[File]:
    """Measure every file on all recordings."""
    unseen, labels = measured.unseen, list(measured.labels)
    best = measured.expected[:unseen].argmax(1)
    before = score(measured.true, best.tolist(), labels).uar
    files = []
    for name, said in measured.files.items():
        apart, predicted = total_variation(measured.expected, said), said[:unseen].argmax(1)
        mean = float(apart[:unseen].mean())
        files.append(
            File(
                run=run,
                name=name,
                precision=name[:4],
                distance=mean,
                seen=float(apart[unseen:].mean()),
                corrected=float(distances(measured.answers(), said)[unseen:].mean()),
                deviation=float(apart[:unseen].std() / max(mean, 1e-9)),
                flips=float((predicted != best).mean()),
                loss=100 * (before - score(measured.true, predicted.tolist(), labels).uar),
            )
        )
    return files


def judged(run: str, measured: Measured) -> list[Row]:
    """Let both gates judge every file on many draws of few recordings."""
    chance = np.random.default_rng(0)
    rows = []
    for clips in COUNTS:
        draws = [drawn(measured, clips, chance) for _ in range(DRAWS)]
        for name, said in measured.files.items():
            apart = distances(measured.answers(), said)
            refused = np.array([refusals(measured, said, apart, name[:4], draw) for draw in draws])
            rows.append(Row(run, name, name[:4], clips, *refused.mean(0).tolist()))
    return rows


def drawn(measured: Measured, clips: int, chance: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """Draw recordings, unseen ones first, and say how many these are."""
    unseen, every = max(2, clips // UNSEEN), len(measured.expected)
    others = chance.permutation(np.arange(measured.unseen, every))
    return np.concatenate([chance.permutation(measured.unseen)[:unseen], others[: clips - unseen]]), unseen


def refusals(
    measured: Measured,
    said: NDArray[np.float32],
    apart: NDArray[np.float64],
    precision: str,
    draw: tuple[NDArray[np.int64], int],
) -> tuple[bool, bool, bool]:
    """Tell whether the earlier gate refuses a file, whether today's does, and whether that for its distance."""
    which, unseen = draw
    expected, got = measured.expected[which], said[which]
    true = [measured.true[index] for index in which[:unseen]]
    too_far = not apart[which].mean() <= DISTANCE[precision]
    too_bad = not recall(true, expected) - recall(true, got) <= LOSS[precision] / 100 + 1e-9
    if too_far or not too_bad:
        return too_bad, too_far, too_far
    speakers = [measured.speakers[index] for index in which[:unseen]]
    answers = Answers(expected[:unseen], true, measured.labels, speakers, "")
    check = compare(answers, got[:unseen], precision)  # of these alone: its distance is not the one that is judged
    return True, not loss_is_allowed(LOSS[precision], check.loss, check.loss_interval), False


def recall(true: list[int], said: NDArray[np.float32]) -> float:
    """UAR of the first recordings, as a share of 1."""
    labels, right = np.array(true), said[: len(true)].argmax(1) == true
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def table_of_files(files: Sequence[File]) -> str:
    lines = [
        "| run | file | distance | of training | corrected | deviation / mean | other labels, % | loss of UAR |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {one.run} | {one.name} | {one.distance:.4f} | {one.seen:.4f} | {one.corrected:.4f} "
        f"| {one.deviation:.1f} | {100 * one.flips:.1f} | {one.loss:+.1f} |"
        for one in files
    ]
    return "\n".join(lines)


def table_of_gates(files: Sequence[File], rows: Sequence[Row]) -> str:
    """How often each gate is wrong, over all sound and all broken files."""
    losses = {(one.run, one.name): one.loss for one in files}
    sound = [row for row in rows if row.name in SOUND_FILES and losses[row.run, row.name] <= SOUND]
    broken = [row for row in rows if losses[row.run, row.name] >= BROKEN]
    lines = [
        "| recordings | sound refused, %: earlier | now | broken passed, %: earlier | now |",
        "|--:|--:|--:|--:|--:|",
    ]
    for clips in COUNTS:
        good = [row for row in sound if row.clips == clips]
        bad = [row for row in broken if row.clips == clips]
        wrong = [np.mean([row.earlier for row in good]), np.mean([row.now for row in good])]
        wrong += [1 - np.mean([row.earlier for row in bad]), 1 - np.mean([row.now for row in bad])]
        lines.append(f"| {clips} | " + " | ".join(f"{100 * share:.1f}" for share in wrong) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
