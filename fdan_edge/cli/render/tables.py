"""What the verbs print for people; results go to standard output."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fdan_edge.errors import AudioError, printable

if TYPE_CHECKING:
    from fdan_edge.data.scan import Scan
    from fdan_edge.evaluation.evaluate import Evaluation
    from fdan_edge.experiments.crossval import CrossValidated
    from fdan_edge.profiling.doctor import Finding
    from fdan_edge.runtime.recognition import Recognition

out = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fitted(folder: Path, metrics: dict[str, Any]) -> None:
    """Scores of a training, and what to do next."""
    test, val = metrics["test"], metrics["val"]
    out.print(Text.assemble((metrics["method"], "bold"), f", {metrics['protocol']}"))
    out.print(f"audit: {metrics['audit']['verdict']}")
    epoch = "last epoch, " if "target" in metrics else "best epoch "
    out.print(f"{epoch}{metrics['best_epoch']}: validation UAR {100 * val['uar']:.1f} % (n = {val['n']})")
    if "target" in metrics:
        out.print(_of_target(metrics["target"], len(test["labels"])))
    out.print(scores(test))
    _reliability(test)
    out.print(_temperature(metrics["calibration"]))
    files = "checkpoint.safetensors, metrics.json, epochs.jsonl, *.png"
    out.print(f"run folder {folder}: {files}", markup=False)
    out.print(f"next: fdan-edge export {folder} --onnx --out bundles/{folder.name}", markup=False)


def _of_target(values: dict[str, Any], classes: int) -> str:
    """What a target says of a model without its labels."""
    told = f"information {values['information']:.2f} of at most {math.log(classes):.2f} nats"
    return f"target: {values['n']} recordings, labels not used; {told}\n(more is better; it compares settings)"


def crossvalidated(done: CrossValidated) -> None:
    """Each fold's scores, those of all folds together, and how far the folds are apart."""
    values = done.to_dict()
    out.print(Text.assemble((values["method"], "bold"), f", {values['protocol']}"))
    for fold in values["folds"]:
        out.print(f"{fold['run']}: {scores(fold['test'])}", markup=False)
    for name in ("pooled", "merged"):
        if pooled := values[name]:
            out.print("calm counted as neutral" if name == "merged" else "all folds", style="bold")
            out.print(f"{scores(pooled)}\n{_over_folds(pooled)}")
            _reliability(pooled)
            out.print(_confusion(pooled["labels"], pooled["confusion"]))
    out.print(f"audit: {values['audit']}")
    out.print(f"folder {done.folder}: crossval.json, fold-*, *.png", markup=False)


def _over_folds(values: dict[str, Any]) -> str:
    """Mean and standard deviation over the folds, from `Pooled.to_dict()`."""
    named = {"UAR": "uar", "WAR": "war", "w-F1": "wf1"}
    each = [f"{name} {100 * values['mean'][k]:.1f} ± {100 * values['sd'][k]:.1f} %" for name, k in named.items()]
    return f"mean and sd over folds: {', '.join(each)}"


def evaluation(done: Evaluation) -> None:
    """Scores with recalls and confusion matrix."""
    out.print(f"[bold]{done.part}[/]")
    values = done.to_dict()
    out.print(scores(values))
    _reliability(values)
    out.print(_confusion(done.scores.labels, done.scores.confusion))
    out.print(f"audit: {done.audit}")
    if done.skipped:
        out.print(f"{done.skipped} recordings are of classes that the model does not know: not scored")
    for line in done.broken:
        errors.print(f"left out: {printable(line)}", markup=False)


class Recognitions:
    """Prints each result as soon as it is there: a row of a table, or a line of JSON."""

    _HEAD: tuple[str, ...] = ("seconds",)  # of the columns after those that all tables have

    def __init__(self, as_json: bool, paths: Sequence[Path], labels: Sequence[str]) -> None:
        self.as_json = as_json
        self.base = _common_folder(paths)
        self.width = max([cell_len("file"), *(cell_len(self._short(path)) for path in paths)])
        self.emotion = max(cell_len(label) for label in ("emotion", *labels))
        self.count = 0

    def hear(self, runner: Any, path: Path) -> None:
        """Recognise one file with a runner, and print it."""
        from fdan_edge.runtime.recognition import recognize_file

        self.result(path, recognize_file(runner, path))

    def result(self, path: Path, recognition: Recognition) -> None:
        """One recognised file."""
        self.count += 1
        if self.as_json:
            json_line(recognition.to_dict())
            return
        if self.count == 1:
            self._head()
        percent = f"{100 * recognition.confidence:.0f} %"
        self._row(self._short(path), recognition.emotion, percent, f"{recognition.seconds:.2f}")

    def error(self, path: Path, error: AudioError) -> None:
        """One file that could not be used."""
        if self.as_json:
            json_line({"path": str(path), "error": str(error)})
        errors.print(f"error: {printable(str(error))}", markup=False)

    def _head(self) -> None:
        if self.base:
            out.print(f"in {printable(str(self.base))}", markup=False)
        self._row("file", "emotion", "confidence", *self._HEAD, style="bold")

    def _row(self, file: str, emotion: str, confidence: str, *seconds: str, style: str | None = None) -> None:
        cells = [_pad(file, self.width), _pad(emotion, self.emotion), f"{confidence:>10}"]
        cells += [f"{value:>7}" for value in seconds]
        out.out("  ".join(cells), highlight=False, style=style)

    def _short(self, path: Path) -> str:
        return printable(os.path.relpath(path, self.base) if self.base else str(path))


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """What all names share says nothing, so it is shown once; None where it would not help."""
    folders = {path.parent for path in paths}
    if len(paths) < 2 or len({folder.is_absolute() for folder in folders}) > 1:
        return None
    common = Path(os.path.commonpath(folders))
    return common if len(common.parts) > common.is_absolute() else None


def _pad(text: str, width: int) -> str:
    """`text` and blanks up to `width` cells of a terminal, where some letters take two."""
    return text + " " * (width - cell_len(text))


def json_line(value: dict[str, Any]) -> None:
    out.out(json.dumps(value), highlight=False)


def findings(rows: Sequence[Finding]) -> None:
    """The doctor's report: what to do about a missing part stands below it."""
    width = max(len(row.ability) for row in rows)
    for row in rows:
        mark = Text("yes", "green") if row.works else Text("no ", "yellow")
        out.print(Text.assemble(mark, f"  {row.ability:<{width}}  {printable(row.detail)}"))
        if row.remedy and not row.works:
            out.print(f"     {row.remedy}", style="bold", markup=False)


def cache(folder: Path, size: int, *, cleared: bool) -> None:
    """Where features are kept, and how much they take or took."""
    megabytes = f"{size / 1e6:.1f} MB"
    out.print(f"{folder}: {f'removed {megabytes}' if cleared else megabytes}", markup=False)


def scans(found: Sequence[Scan]) -> None:
    """What corpora hold, and which of their files need a look."""
    for one in found:
        out.print(Text.assemble((printable(one.source), "bold"), f": {_contents(one)}"))
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("class")
        table.add_column(_NOUNS[one.modality], justify="right")
        for name, count in (one.classes or {"no label": one.items}).items():
            table.add_row(printable(name), str(count))
        out.print(table)
        if one.speakers:
            out.print(_per_speaker(one), markup=False, soft_wrap=False)
        if one.splits:
            parts = [f"{name} {one.splits[name]}" for name in ("train", "val", "test") if name in one.splits]
            out.print(f"publisher's parts: {', '.join(parts)}")
        _oddities(one)
        for line in one.broken:
            errors.print(f"broken: {printable(line)}", markup=False)


_NOUNS = {"speech": "recordings", "faces": "faces", "videos": "videos"}
_MOST = 20  # groups or files named of one kind; --json names all


def _oddities(one: Scan) -> None:
    """Files that the corpus has twice, and those whose label is not known."""
    base = Path(one.source.partition(":")[2])
    twice = {
        "same content under different names:": one.duplicates,
        "there more than once; the first is used:": one.copies,
    }
    for head, groups in twice.items():
        _files(head, ["\n    = ".join(_below(base, path) for path in group) for group in groups])
    for reason, paths in one.unlabelled.items():
        count = "1 file" if len(paths) == 1 else f"{len(paths)} files"
        _files(f"no label for {count}: {printable(reason)}", [_below(base, path) for path in paths])


def _files(head: str, lines: list[str]) -> None:
    if lines:
        out.print(head, style="yellow", markup=False, soft_wrap=False)
    for line in lines[:_MOST]:
        out.print(f"  {line}", markup=False)
    if len(lines) > _MOST:
        out.print(f"  and {len(lines) - _MOST} more; --json names all")


def _below(base: Path, name: str) -> str:
    """A path without the folder that the scan's first line names."""
    path = Path(name)
    return printable(str(path.relative_to(base) if path.is_relative_to(base) else path))


def _contents(one: Scan) -> str:
    """How much a corpus holds, in words."""
    noun = _NOUNS[one.modality]
    parts = [f"{one.items} {noun if one.items != 1 else noun.removesuffix('s')}"]
    if one.modality == "speech":
        parts.append(f"{one.hours:.2f} h")
    if one.speakers:
        parts.append(f"{len(one.speakers)} speaker{'s' if len(one.speakers) > 1 else ''}")
    if one.broken:
        parts.append(f"{len(one.broken)} of them broken" if len(one.broken) > 1 else "1 of them broken")
    if one.duplicates:
        count = sum(len(group) - 1 for group in one.duplicates)
        parts.append(f"{count} duplicate{'s' if count > 1 else ''}")
    return ", ".join(parts)


def _per_speaker(one: Scan) -> str:
    noun, counts = _NOUNS[one.modality], set(one.speakers.values())
    if len(one.speakers) > 1 and len(counts) == 1:
        return f"{counts.pop()} {noun} of each speaker"
    # Bound together, so that a line does not break between a speaker and the number.
    per = ", ".join(f"{printable(name)}:\N{NO-BREAK SPACE}{count}" for name, count in one.speakers.items())
    return f"{noun} per speaker: {per}"


def scores(values: dict[str, Any]) -> str:
    """The papers' three scores on one line, from `Scores.to_dict()`."""
    uar, war, wf1 = (100 * float(values[k]) for k in ("uar", "war", "wf1"))
    return f"UAR {uar:.1f} %   WAR {war:.1f} %   w-F1 {wf1:.1f} %   (n = {values['n']})"


def scores_interval(values: dict[str, Any]) -> str:
    """The intervals of the three scores on one line, from `Evaluation.to_dict()`."""
    made = values["intervals"]
    named = {"UAR": "uar", "WAR": "war", "w-F1": "wf1"}
    ranges = ", ".join(f"{name} {_range(made[key], 1)}" for name, key in named.items())
    return f"{100 * made['level']:.0f} % intervals: {ranges} %"


def _reliability(values: dict[str, Any]) -> None:
    """How sure the scores are, the recall of each class, and how sure the probabilities are."""
    made, calibration = values["intervals"], values["calibration"]
    out.print(f"{scores_interval(values)}\n({made['note']})")
    out.print(_recalls(values["recall"], made))
    out.print(f"probabilities: ECE {100 * calibration['ece']:.1f} %   NLL {calibration['nll']:.3f}")


def _temperature(values: dict[str, Any]) -> str:
    """What calibration on validation did, from `Temperature.to_dict()`."""
    ece = " to ".join(f"{100 * values[f'ece_{when}']:.1f}" for when in ("before", "after"))
    nll = " to ".join(f"{values[f'nll_{when}']:.3f}" for when in ("before", "after"))
    fitted_on = f"fitted on {values['n']} validation recordings"
    return f"temperature {values['temperature']:.2f}, {fitted_on};\nthere ECE {ece} %, NLL {nll}"


def _recalls(recall: dict[str, float], intervals: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("class")
    table.add_column("recall", justify="right")
    table.add_column(f"{100 * intervals['level']:.0f} % interval", justify="right")
    for name, value in recall.items():
        table.add_row(name, f"{100 * value:.0f} %", f"{_range(intervals['recall'][name], 0)} %")
    return table


def _range(interval: Sequence[float], digits: int) -> str:
    low, high = (f"{100 * edge:.{digits}f}" for edge in interval)
    return f"{low} to {high}"


def _confusion(labels: list[str], counts: list[list[int]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), caption="rows: true emotion, columns: recognised as")
    table.add_column("")
    for label in labels:
        table.add_column(label, justify="right")
    for label, row in zip(labels, counts, strict=True):
        table.add_row(label, *[str(c) if c else "." for c in row])
    return table
