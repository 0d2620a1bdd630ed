"""The Markdown and the JSON of `fdan-edge reproduce didan`: cross-corpus tasks, and how their scores were made."""

from __future__ import annotations

import math
import statistics
from typing import Any, TypeAlias

from fdan_edge.errors import CheckpointError
from fdan_edge.evaluation.confidence_intervals import Interval
from fdan_edge.experiments.cross_corpus import Line, Task, TaskRequest, Trial
from fdan_edge.experiments.cross_corpus_scores import Difference, Result, result
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

_Rows: TypeAlias = list[tuple[Line, "Result | None"]]


def markdown(request: TaskRequest, lines: list[Line], command: str) -> str:
    """An overview, a table for each task, and beneath them what they were made of, by and on."""
    tables = _tables(lines)
    parts = [f"# Cross-corpus tasks: {', '.join(source.corpus for source in request.speech)}", ""]
    parts += [_PROTOCOL, "", _CHOICE, "", _READING, "", *_overview(request, tables)]
    for task, rows in tables.items():
        parts += _section(task, rows)
    return "\n".join([*parts, "## How it was made", "", *_origin(request, lines), "", "```", command, "```", ""])


def to_dict(request: TaskRequest, lines: list[Line], command: str) -> dict[str, Any]:
    """The same for programs, and every training with its scores, also those whose weight was not chosen."""
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


def _tables(lines: list[Line]) -> dict[Task, _Rows]:
    """The rows of each task and their scores."""
    source, joint = ({line.task: line for line in lines if line.name == name} for name in ("source", "joint"))
    tables: dict[Task, _Rows] = {}
    for line in lines:
        tables.setdefault(line.task, []).append((line, result(line, source.get(line.task), joint.get(line.task))))
    return tables


def _overview(request: TaskRequest, tables: dict[Task, _Rows]) -> list[str]:
    head = ["UAR %", *map(_short, tables), "mean"]
    rows = [head]
    for own in zip(*tables.values(), strict=True):
        values = [found.mean_uar for _, found in own if found]
        mean = f"{100 * statistics.mean(values):.1f}" if len(values) == len(own) else "-"
        rows.append([own[0][0].row.title, *(_marked(line, found) for line, found in own), mean])
    letters = ", ".join(f"{_letter(source.corpus)} {source.corpus}" for source in request.speech)
    legend = [f"{letters}; source before target.  ", "(+), (-): better or worse than source only; * in its table."]
    return ["## All tasks", "", *aligned(rows), "", *legend, ""]


def _letter(corpus: str) -> str:
    return LETTERS.get(corpus, corpus)


def _short(task: Task) -> str:
    return f"{_letter(task.source.corpus)}-{_letter(task.target.corpus)}"


def _marked(line: Line, found: Result | None) -> str:
    if found is None:
        return _state(line)
    mark = ""
    if found.difference and found.difference.clear:
        mark = " (+)" if found.difference.uar > 0 else " (-)"
    return f"{100 * found.mean_uar:.1f}{mark}"


def _state(line: Line) -> str:
    """Why a row has no scores, in a cell."""
    return "not run yet" if any(trial.outcome is None for trial in line.wanted) else "not run"


def _section(task: Task, rows: _Rows) -> list[str]:
    notes = Notes()
    table = [["method", "lambda", "UAR %", "95 % interval", "minus source", "minus joint", "WAR %"]]
    for line, found in rows:
        cells = _cells(line, found) if found else ["-", _state(line), "-", "-", "-", "-"]
        table.append([line.row.title + notes.marks(_remarks(line, found)), *cells])
    lines = [f"## {task} ({_short(task)})", "", *aligned(table), ""]
    lines += [*notes.lines(), ""] if notes.texts else []
    described = [*_described(rows), *_tried(rows)]
    return [*lines, *described, ""] if described else lines


def _cells(line: Line, found: Result) -> list[str]:
    interval = _span(found.interval, ".1f") if found.interval else "-"
    differences = [_less(found.difference), _less(found.of_term, short=True)]
    return [_weight(line), _scores(found.uar), interval, *differences, f"{100 * found.mean_war:.1f}"]


def _less(difference: Difference | None, *, short: bool = False) -> str:
    if difference is None:
        return "-"
    star = " *" if difference.clear else ""
    span = "" if short else f" ({_span(difference.interval, '+.1f')})"
    return f"{_percent(difference.uar):+.1f}{span}{star}"


def _span(interval: Interval, form: str) -> str:
    low, high = interval
    return f"{_percent(low):{form}} to {_percent(high):{form}}"


def _percent(share: float) -> float:
    """To one place; of nearly nothing 0, not -0."""
    return round(100 * share, 1) + 0.0


def _weight(line: Line) -> str:
    if line.row.weight is None or line.choice is None:
        return "-"
    name = "alpha " if line.row.weight.setting == "alpha" else ""
    return f"{name}{line.choice.weight:g}{_edge(line)}"


def _edge(line: Line) -> str:
    """Whether the choice is the least or the most that was tried: another one might have been taken."""
    weights = [trial.weight for trial in line.grid]
    if len(weights) == 1 or line.choice is None:
        return ""
    return {weights[0]: " ↓", weights[-1]: " ↑"}.get(line.choice.weight, "")


def _scores(values: list[float]) -> str:
    """The mean, and in brackets each seed's or, of many, their range."""
    mean = f"{100 * statistics.mean(values):.1f}"
    if len(values) == 1:
        return mean
    if len(values) > _MANY_SEEDS:
        return f"{mean} ({_span((min(values), max(values)), '.1f')})"
    return f"{mean} ({' / '.join(f'{100 * value:.1f}' for value in values)})"


def _remarks(line: Line, found: Result | None) -> list[str]:
    """Why a row has no scores, or what is the matter with some of its trainings."""
    texts = [(trial, trial.outcome.problem if trial.outcome else "not run yet") for trial in line.wanted]
    distinct = {text for _, text in texts}
    if len(distinct) == 1:
        return list(distinct - {"", "not run yet"})
    # While nothing is to be seen of a row, its cell says that it is not run yet.
    told = [(trial, text) for trial, text in texts if text and (found or trial.outcome)]
    return [f"{_name(line, trial)}: {text}" for trial, text in told]


def _name(line: Line, trial: Trial) -> str:
    weighed = len(line.grid) > 1 and trial in line.grid
    return f"lambda {trial.weight:g}, seed {trial.seed}" if weighed else f"seed {trial.seed}"


def _described(rows: _Rows) -> list[str]:
    """Classes and counts; they are the same for every row, unless files came or went."""
    done = [trial for line, _ in rows for trial in line.chosen if trial.metrics]
    labels = dict.fromkeys(
        tuple(t.outcome.predictions.labels) for t in done if t.outcome and t.outcome.predictions
    )
    counts = dict.fromkeys(_counts(trial) for trial in done)
    notes = dict.fromkeys(t.metrics["test"]["intervals"]["note"] for t in done if t.metrics)
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


def _tried(rows: _Rows) -> list[str]:
    """What each weight tells about the target."""
    lines = [line for line, _ in rows if len(line.grid) > 1 and line.choice]
    texts = [f"  - {line.row.title}: {', '.join(map(_told, line.grid))}" for line in lines]
    classes = next((len(t.metrics["test"]["recall"]) for line in lines for t in line.chosen if t.metrics), 1)
    head = (
        f"- Information about the target in nats, at most {math.log(classes):.2f}, with each lambda (FDAN: alpha):"
    )
    return [head, *texts] if texts else []


def _told(trial: Trial) -> str:
    return f"{trial.weight:g}: {'-' if trial.information is None else f'{trial.information:.3f}'}"


def _origin(request: TaskRequest, lines: list[Line]) -> list[str]:
    recipe = request.recipe()
    speech, faces = (", ".join(f"`{source}`" for source in given) for given in (request.speech, request.faces))
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
        "rows": [_row(line, found) for line, found in rows],
    }


def _row(line: Line, found: Result | None) -> dict[str, Any]:
    values: dict[str, Any] = {"row": line.name, "title": line.row.title}
    if line.row.weight:
        values["weight"] = {
            "setting": line.row.weight.setting,
            "chosen": line.choice.weight if line.choice else None,
            "information": {f"{trial.weight:g}": trial.information for trial in line.grid},
        }
    if found is None:
        return values | {"state": _state(line)}
    differences = {"less_source": _plain(found.difference), "less_joint": _plain(found.of_term)}
    scores = {"seeds": found.seeds, "uar": found.uar, "war": found.war}
    means = {"mean_uar": found.mean_uar, "mean_war": found.mean_war}
    interval = found.interval and list(found.interval)
    return values | scores | means | {"interval": interval} | differences


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
