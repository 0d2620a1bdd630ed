"""Write the Markdown and the JSON of `fdan-edge reproduce didan`: scores of tasks, and how they were made."""

from __future__ import annotations

import math
import statistics
from typing import Any, TypeAlias

from fdan_edge.errors import CheckpointError
from fdan_edge.evaluation.confidence_intervals import Interval
from fdan_edge.experiments.cross_corpus import TableLine, Task, TaskRequest, Trial
from fdan_edge.experiments.cross_corpus_scores import Difference, RowScores, row_scores
from fdan_edge.experiments.paper_report import Notes, aligned, changes, entry, made_with, settings_line
from fdan_edge.runs.run_folder import load_split
from fdan_edge.utils.machine import machine_info

#: The letters that name corpora in short; B, E and C are those of the papers.
LETTERS = {
    "emodb": "B",
    "enterface": "E",
    "casia": "C",
    "ravdess": "R",
    "savee": "S",
    "crema": "A",
    "meld": "M",
    "synthetic": "Y",
    "folder": "F",
}
#: More seeds than this are shown by their range.
_MANY_SEEDS = 3
_PROTOCOL = """\
A model is trained on the labelled recordings of one corpus, the source, and recognises those of another, the
target. But for "source only" it hears the target's recordings in training too, without their labels, and they are
the ones that it is tested on: the whole target corpus (transductive). Only the classes that both corpora have are
used; to know which recordings these are takes the target's labels, as in the group's papers. The weights are those
of the last epoch: no label says when the target is understood best."""
_CHOICE = """\
The weight of what aligns the corpora (lambda; of the faces alpha) is chosen without labels: of the values that are
tried with the first seed, the one with the highest mutual information between the target's recordings and the
classes that are recognised, H(mean p) - mean H(p). Scores of the test play no part in it. An arrow says that it is
the least (↓) or most (↑) that was tried."""
_READING = """\
An interval is that of the mean over the seeds, with other speakers of the same kind in the target corpus; other
seeds are not in it. "minus source" is the difference to training on the source alone, from the same draws of
speakers and the same seeds, "minus joint" that to hearing the target in the same batches and aligning nothing:
batch norm then takes its statistics of both corpora. * says that an interval excludes 0. Of many such intervals at
95 % one in twenty does so by chance. No published column: only the abstract of the DIDAN paper is at hand."""

_Rows: TypeAlias = list[tuple[TableLine, "RowScores | None"]]


def markdown(request: TaskRequest, lines: list[TableLine], command: str) -> str:
    """Write an overview, a table for each task, and beneath them data, versions and machines."""
    tables = _tables(lines)
    parts = [f"# Cross-corpus tasks: {', '.join(source.corpus for source in request.speech)}", ""]
    parts += [_PROTOCOL, "", _CHOICE, "", _READING, "", *_overview(request, tables)]
    for task, rows in tables.items():
        parts += _section(task, rows)
    return "\n".join([*parts, "## How it was made", "", *_origin(request, lines), "", "```", command, "```", ""])


def to_dict(request: TaskRequest, lines: list[TableLine], command: str) -> dict[str, Any]:
    """Give the same for programs, and every training with its scores, also those whose weight was not chosen."""
    return {
        "table": request.table,
        "speech": [str(source) for source in request.speech],
        "faces": [str(source) for source in request.faces],
        "command": command,
        "changed_settings": changes(request.recipe()),
        "machine": machine_info(),
        "tasks": [_task(task, rows) for task, rows in _tables(lines).items()],
        "runs": [_run(trial) for line in lines for trial in line.wanted],
    }


def _tables(lines: list[TableLine]) -> dict[Task, _Rows]:
    """Group the rows by task, and score them."""
    source, joint = ({line.task: line for line in lines if line.name == name} for name in ("source", "joint"))
    tables: dict[Task, _Rows] = {}
    for line in lines:
        tables.setdefault(line.task, []).append(
            (line, row_scores(line, source.get(line.task), joint.get(line.task)))
        )
    return tables


def _overview(request: TaskRequest, tables: dict[Task, _Rows]) -> list[str]:
    head = ["UAR %", *map(_abbreviated, tables), "mean"]
    rows = [head]
    for own in zip(*tables.values(), strict=True):
        values = [scores.mean_uar for _, scores in own if scores]
        mean = f"{100 * statistics.mean(values):.1f}" if len(values) == len(own) else "-"
        rows.append([own[0][0].row.title, *(_overview_cell(line, scores) for line, scores in own), mean])
    letters = ", ".join(f"{_letter(source.corpus)} {source.corpus}" for source in request.speech)
    legend = [f"{letters}; source before target.  ", "(+), (-): better or worse than source only; * in its table."]
    return ["## All tasks", "", *aligned(rows), "", *legend, ""]


def _letter(corpus: str) -> str:
    return LETTERS.get(corpus, corpus)


def _abbreviated(task: Task) -> str:
    return f"{_letter(task.source.corpus)}-{_letter(task.target.corpus)}"


def _overview_cell(line: TableLine, scores: RowScores | None) -> str:
    if scores is None:
        return _state(line)
    mark = ""
    if scores.difference and scores.difference.clear:
        mark = " (+)" if scores.difference.uar > 0 else " (-)"
    return f"{100 * scores.mean_uar:.1f}{mark}"


def _state(line: TableLine) -> str:
    """Say in a cell why a row has no scores."""
    return "not run yet" if any(trial.outcome is None for trial in line.wanted) else "not run"


def _section(task: Task, rows: _Rows) -> list[str]:
    notes = Notes()
    table = [["method", "lambda", "UAR %", "95 % interval", "minus source", "minus joint", "WAR %"]]
    for line, scores in rows:
        cells = _scored_cells(line, scores) if scores else ["-", _state(line), "-", "-", "-", "-"]
        table.append([line.row.title + notes.marks(_remarks(line, scores)), *cells])
    lines = [f"## {task} ({_abbreviated(task)})", "", *aligned(table), ""]
    lines += [*notes.lines(), ""] if notes.texts else []
    described = [*_data_lines(rows), *_weights_tried(rows)]
    return [*lines, *described, ""] if described else lines


def _scored_cells(line: TableLine, scores: RowScores) -> list[str]:
    interval = _span(scores.interval, ".1f") if scores.interval else "-"
    differences = [_difference(scores.difference), _difference(scores.of_term, short=True)]
    return [_weight(line), _seed_scores(scores.uar), interval, *differences, f"{100 * scores.mean_war:.1f}"]


def _difference(difference: Difference | None, *, short: bool = False) -> str:
    if difference is None:
        return "-"
    star = " *" if difference.clear else ""
    span = "" if short else f" ({_span(difference.interval, '+.1f')})"
    return f"{_percent(difference.uar):+.1f}{span}{star}"


def _span(interval: Interval, form: str) -> str:
    low, high = interval
    return f"{_percent(low):{form}} to {_percent(high):{form}}"


def _percent(share: float) -> float:
    """Round to one decimal place, without a minus before 0."""
    return round(100 * share, 1) + 0.0


def _weight(line: TableLine) -> str:
    if line.row.weight is None or line.choice is None:
        return "-"
    name = "alpha " if line.row.weight.setting == "alpha" else ""
    return f"{name}{line.choice.weight:g}{_edge(line)}"


def _edge(line: TableLine) -> str:
    """Mark a choice at the edge of what was tried: a weight beyond it might be better."""
    weights = [trial.weight for trial in line.grid]
    if len(weights) == 1 or line.choice is None:
        return ""
    return {weights[0]: " ↓", weights[-1]: " ↑"}.get(line.choice.weight, "")


def _seed_scores(values: list[float]) -> str:
    """Write the mean, and in brackets each seed's score or, of many, their range."""
    mean = f"{100 * statistics.mean(values):.1f}"
    if len(values) == 1:
        return mean
    if len(values) > _MANY_SEEDS:
        return f"{mean} ({_span((min(values), max(values)), '.1f')})"
    return f"{mean} ({' / '.join(f'{100 * value:.1f}' for value in values)})"


def _remarks(line: TableLine, scores: RowScores | None) -> list[str]:
    """Say why a row has no scores, or what went wrong in some of its trainings."""
    texts = [(trial, trial.outcome.problem if trial.outcome else "not run yet") for trial in line.wanted]
    distinct = {text for _, text in texts}
    if len(distinct) == 1:
        return list(distinct - {"", "not run yet"})
    # While nothing is to be seen of a row, its cell says that it is not run yet.
    remarks = [(trial, text) for trial, text in texts if text and (scores or trial.outcome)]
    return [f"{_name(line, trial)}: {text}" for trial, text in remarks]


def _name(line: TableLine, trial: Trial) -> str:
    weighed = len(line.grid) > 1 and trial in line.grid
    return f"lambda {trial.weight:g}, seed {trial.seed}" if weighed else f"seed {trial.seed}"


def _data_lines(rows: _Rows) -> list[str]:
    """Write classes and counts; they are the same for every row, unless files came or went."""
    trials = [trial for line, _ in rows for trial in line.chosen if trial.metrics]
    labels = dict.fromkeys(
        tuple(t.outcome.predictions.labels) for t in trials if t.outcome and t.outcome.predictions
    )
    counts = dict.fromkeys(_counts(trial) for trial in trials)
    notes = dict.fromkeys(t.metrics["test"]["intervals"]["note"] for t in trials if t.metrics)
    return [
        *(f"- Classes: {', '.join(names)}; a guess has a UAR of {100 / len(names):.1f} %." for names in labels),
        *(f"- Recordings: {text}." for text in counts),
        *(f"- Intervals: bootstrap, {text}." for text in notes),
    ]


def _counts(trial: Trial) -> str:
    assert trial.metrics is not None
    target = f"{trial.metrics['test']['n']} of the target"
    try:
        split = load_split(trial.run.folder)
    except CheckpointError:
        return target
    train, val = len(split["train"]), len(split["val"])
    return f"{train} of the source to train, {val} to calibrate the probabilities; {target}"


def _weights_tried(rows: _Rows) -> list[str]:
    """Write how much the model tells about the target, for each weight that was tried."""
    lines = [line for line, _ in rows if len(line.grid) > 1 and line.choice]
    texts = [f"  - {line.row.title}: {', '.join(map(_information, line.grid))}" for line in lines]
    classes = next((len(t.metrics["test"]["recall"]) for line in lines for t in line.chosen if t.metrics), 1)
    head = (
        f"- Information about the target in nats, at most {math.log(classes):.2f}, with each lambda (FDAN: alpha):"
    )
    return [head, *texts] if texts else []


def _information(trial: Trial) -> str:
    return f"{trial.weight:g}: {'-' if trial.information is None else f'{trial.information:.3f}'}"


def _origin(request: TaskRequest, lines: list[TableLine]) -> list[str]:
    recipe = request.recipe()
    speech, faces = (", ".join(f"`{source}`" for source in sources) for sources in (request.speech, request.faces))
    seeds = ", ".join(map(str, request.seeds))
    return [
        f"- Speech: {speech}. Faces: {faces or 'none'}. Backbone: {recipe.backbone}.",
        f"- Seeds of the training: {seeds}{'; mean over them' if len(request.seeds) > 1 else ''}.",
        f"- Epochs: {recipe.epochs}.",
        settings_line(recipe),
        *made_with([trial.outcome for line in lines for trial in line.wanted]),
    ]


def _task(task: Task, rows: _Rows) -> dict[str, Any]:
    return {
        "task": str(task),
        "source": task.source.corpus,
        "target": task.target.corpus,
        "rows": [_row(line, scores) for line, scores in rows],
    }


def _row(line: TableLine, scores: RowScores | None) -> dict[str, Any]:
    values: dict[str, Any] = {"row": line.name, "title": line.row.title}
    if line.row.weight:
        values["weight"] = {
            "setting": line.row.weight.setting,
            "chosen": line.choice.weight if line.choice else None,
            "information": {f"{trial.weight:g}": trial.information for trial in line.grid},
        }
    if scores is None:
        return values | {"state": _state(line)}
    differences = {"less_source": _plain(scores.difference), "less_joint": _plain(scores.of_term)}
    by_seed = {"seeds": scores.seeds, "uar": scores.uar, "war": scores.war}
    means = {"mean_uar": scores.mean_uar, "mean_war": scores.mean_war}
    interval = scores.interval and list(scores.interval)
    return values | by_seed | means | {"interval": interval} | differences


def _plain(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {
        "uar": difference.uar,
        "interval": list(difference.interval),
        "excludes_0": difference.clear,
    }


def _run(trial: Trial) -> dict[str, Any]:
    values = {"task": str(trial.task), "weight": trial.weight, **entry(trial.run, trial.outcome)}
    del values["protocol"]  # how a corpus would be split; here the whole target is the test
    return values
