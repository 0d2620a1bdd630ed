"""Write the Markdown and the JSON of `fdan-edge reproduce`: our scores beside the paper's, and their origin."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fdan_edge.config import Config, config_to_dict, network_config
from fdan_edge.data.protocols import FOLDED
from fdan_edge.experiments import paper_scores
from fdan_edge.experiments.paper_scores import Published
from fdan_edge.experiments.paper_tables import Outcome, Outcomes, Request, Run
from fdan_edge.training.verdict import why_useless
from fdan_edge.utils.machine import machine_info

_SCORES = ("war", "uar", "wf1")
_LEAK = (
    "The published figures are of a random split (8/10 of each class for training, 2/10 for the test), in which "
    "the same speakers and sentences are in train and test. They say nothing about a new voice and are no "
    "measure for the rows of other protocols."
)
_VALIDATION = (
    "The epoch is chosen on a validation part that is taken from the training part, never on the test; the paper "
    "names no validation part."
)


@dataclass(frozen=True)
class RunOutcome:
    """A run and its outcome; None: not run yet."""

    run: Run
    outcome: Outcome | None

    @property
    def metrics(self) -> dict[str, Any] | None:
        """Give its scores, as in metrics.json; None: there are none yet."""
        return self.outcome.metrics if self.outcome else None


class Notes:
    """Footnotes: equal ones share a number."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def marks(self, texts: Sequence[str]) -> str:
        """Add notes; give the marks that stand behind the words that they belong to."""
        self.texts += [text for text in texts if text not in self.texts]
        numbers = sorted({self.texts.index(text) + 1 for text in texts})
        return " " + " ".join(f"({number})" for number in numbers) if numbers else ""

    def lines(self) -> list[str]:
        """Write the notes, a line each, for beneath the table."""
        # Two blanks end a line in Markdown; what stands in angle brackets would be taken for HTML.
        texts = (text.replace("<", "\\<") for text in self.texts)
        return [f"({number}) {text}  " for number, text in enumerate(texts, 1)]


def markdown(request: Request, runs: list[Run], outcomes: Outcomes, command: str) -> str:
    """Write a table for each protocol, and beneath them data, versions and machines."""
    results = [RunOutcome(run, outcome) for run, outcome in zip(runs, outcomes, strict=True)]
    number = request.table.removeprefix("table")
    lines = [
        f"# The rows of the FDAN paper's table {number}, on {_named(request.corpora)}",
        "",
        _introduction(request),
        "",
    ]
    for protocol in dict.fromkeys(request.protocols):
        lines += _section(request, protocol, [t for t in results if t.run.config.protocol == protocol])
    lines += ["## How it was made", "", *_origin(request, results), "", "```", command, "```", ""]
    return "\n".join(lines)


def to_dict(request: Request, runs: list[Run], outcomes: Outcomes, command: str) -> dict[str, Any]:
    """Give the same for programs; our scores are shares of 1, the paper's percent as printed."""
    return {
        "table": request.table,
        "speech": [str(source) for source in request.speech],
        "faces": [str(source) for source in request.faces],
        "command": command,
        "changed_settings": changes(request.recipe()),
        "machine": machine_info(),
        "rows": [entry(run, outcome) for run, outcome in zip(runs, outcomes, strict=True)],
        "published": [asdict(row) for row in paper_scores.rows(request.table, request.corpora)],
    }


def entry(run: Run, outcome: Outcome | None) -> dict[str, Any]:
    """Give one run for programs: its settings, and its scores or why it has none."""
    values: dict[str, Any] = {
        "row": run.name,
        "title": run.row.title,
        "backbone": run.config.backbone,
        "protocol": run.config.protocol,
        "seed": run.config.seed,
        "folder": str(run.folder),
        "state": "not run yet" if outcome is None else "finished" if outcome.metrics else "cannot be run",
        "settings": config_to_dict(run.config),
    }
    if outcome is None:
        return values
    values |= {"problem": outcome.problem or None, "versions": outcome.versions, "machine": outcome.machine}
    if outcome.metrics:
        kept = ("protocol", "audit", "best_epoch", "val", "target", "test")
        scores = {name: outcome.metrics[name] for name in kept if name in outcome.metrics}
        values |= {"seconds": round(outcome.seconds), "split": scores.pop("protocol"), **scores}
    return values


def _introduction(request: Request) -> str:
    speech, faces = (", ".join(f"`{source}`" for source in sources) for sources in (request.speech, request.faces))
    text = f"Speech: {speech}. Faces: {faces or 'none'}. Backbone of FDAN: {request.backbone}"
    text += "" if request.backbone == paper_scores.BACKBONE else f" (the paper's: {paper_scores.BACKBONE})"
    if paper_scores.rows(request.table, request.corpora):
        return text + "."
    known = _named(list(paper_scores.TABLES[request.table]))
    return f"{text}. No published column: the paper's table is of {known}."


def _section(request: Request, protocol: str, results: list[RunOutcome]) -> list[str]:
    paper = paper_scores.rows(request.table, request.corpora)
    notes = Notes()
    head = ["model", "WAR %", "UAR %", "w-F1 %", "UAR: 95 % interval"]
    head += ["published WAR / UAR / w-F1 %"] if paper else []
    rows = [[*head, "n test"]]
    for name, title in _rows_in_order(request, paper, results):
        own = [t for t in results if t.run.name == name] if name else []
        figures = next((row for row in paper if (row.row == name if name else row.title == title)), None)
        cells = _score_cells(own) if own else ["-"] * 5
        mark = notes.marks([*_remarks(own), *(_unlike_the_paper(request, own[0].run) if own and figures else [])])
        beside = [_figures(figures)] if paper else []
        rows.append([title + mark, *cells[:4], *beside, cells[4]])
    lines = [f"## Protocol: {protocol}", "", *aligned(rows), ""]
    lines += [*notes.lines(), ""] if notes.texts else []
    return lines + _data_lines(results)


def _rows_in_order(
    request: Request, paper: tuple[Published, ...], results: list[RunOutcome]
) -> list[tuple[str | None, str]]:
    """List (our row or None, title) of every line: plain backbones, other people's methods, FDAN."""
    own = {t.run.name: t.run for t in results}
    titles = {row.row: row.title for row in paper if row.row == "multi"}
    plain = [(name, _title(run)) for name, run in own.items() if not run.row.faces]
    faced = [(name, titles.get(name, _title(run))) for name, run in own.items() if run.row.faces]
    # Who asks for some rows wants these only.
    others = [(None, row.title) for row in paper if row.row is None and not request.rows]
    return [*plain, *others, *faced]


def _title(run: Run) -> str:
    same = run.row.backbone or (run.row.faces and run.config.backbone == paper_scores.BACKBONE)
    return run.row.title if same else f"{run.row.title}, {run.config.backbone}"


def _score_cells(results: list[RunOutcome]) -> list[str]:
    """Write WAR, UAR, w-F1, interval and n of one row, over its seeds."""
    scored = [(t.run.config.seed, t.metrics["test"]) for t in results if t.metrics]
    if not scored:
        waiting = any(t.outcome is None for t in results)
        return ["not run yet" if waiting else "not run", "-", "-", "-", "-"]
    values = {name: [100 * float(test[name]) for _, test in scored] for name in _SCORES}
    low, high = (100 * float(edge) for edge in scored[0][1]["intervals"]["uar"])
    interval = f"{low:.1f} to {high:.1f}"
    if len(scored) > 1:
        interval += f" (seed {scored[0][0]}); seeds {min(values['uar']):.1f} to {max(values['uar']):.1f}"
    counts = dict.fromkeys(str(test["n"]) for _, test in scored)
    return [*(_mean(values[name]) for name in _SCORES), interval, " / ".join(counts)]


def _mean(values: list[float]) -> str:
    each = f" ({' / '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{each}"


def _figures(row: Published | None) -> str:
    if row is None:
        return "-"
    return " / ".join("-" if value is None else f"{value:.1f}" for value in (row.war, row.uar, row.wf1))


def _remarks(results: list[RunOutcome]) -> list[str]:
    """Say why a row has no scores, or lacks those of some seeds, and which are no better than chance."""
    scored = [(t.run.config.seed, why_useless(t.metrics["test"])) for t in results if t.metrics]
    return [*_missing(results), *(f"seed {seed}: {why}" for seed, why in scored if why)]


def _missing(results: list[RunOutcome]) -> list[str]:
    texts = {t.run.config.seed: t.outcome.problem if t.outcome else "not run yet" for t in results}
    if len(set(texts.values())) == 1:
        return [text for text in set(texts.values()) if text not in ("", "not run yet")]
    return [f"seed {seed}: {text}" for seed, text in texts.items() if text]


def _unlike_the_paper(request: Request, run: Run) -> list[str]:
    """Say with which other faces the paper's row was trained, whose figures stand beside ours."""
    if not run.row.faces or not run.faces:
        return []
    theirs = paper_scores.FACES[request.table] or request.corpora
    ours = tuple(sorted({source.corpus for source in run.faces}))
    if ours == theirs:
        return []
    return [f"the paper's row saw the faces of {_named(theirs)}, this one those of {_named(ours)}"]


def _verdicts(results: list[RunOutcome]) -> list[str]:
    """List the audits' verdicts; where they differ, each with the rows that it is of."""
    rows: dict[str, list[str]] = {}
    for result in results:
        if result.metrics and "audit" in result.metrics:
            rows.setdefault(result.metrics["audit"]["verdict"], []).append(_title(result.run))
    if len(rows) < 2:
        return list(rows)
    return [f"{text} (rows: {'; '.join(dict.fromkeys(titles))})" for text, titles in rows.items()]


def _data_lines(results: list[RunOutcome]) -> list[str]:
    scored = [t.metrics for t in results if t.metrics]
    folds = " of each fold" if results and results[0].run.config.protocol in FOLDED else ""
    splits = dict.fromkeys(
        f"{m['protocol']}; {_size(m['val'])} recordings{folds} to choose the epoch, {m['test']['n']} to test"
        for m in scored
    )
    notes = dict.fromkeys(m["test"]["intervals"]["note"] for m in scored)
    verdicts = _verdicts(results)
    lines = [f"- Split: {text}." for text in splits]
    lines += [f"- Leak audit: {text}." for text in verdicts]
    lines += [f"- Intervals: bootstrap, {text}." for text in notes]
    return [*lines, ""] if lines else []


def _size(val: dict[str, Any]) -> str:
    """Write the size of a validation part; folds may have several sizes."""
    most = val.get("most", val["n"])
    return str(val["n"]) if most == val["n"] else f"{val['n']} to {most}"


def _origin(request: Request, results: list[RunOutcome]) -> list[str]:
    recipe = request.recipe()
    seeds = ", ".join(map(str, request.seeds))
    several = "; mean over them, each in brackets" if len(request.seeds) > 1 else ""
    lines = [
        f"- Seeds of the training: {seeds}{several}. The random split: split_seed = {recipe.split_seed}.",
        f"- Epochs: {recipe.epochs}. {_VALIDATION}",
        settings_line(recipe),
    ]
    if request.paper_recipe:
        lines.append(
            "- `--paper-recipe`: what the paper says of its training; what it does not say is the default."
        )
    lines += made_with([t.outcome for t in results])
    if paper_scores.rows(request.table, request.corpora):
        lines.append(f"- {_LEAK}")
    return lines


def settings_line(recipe: Config) -> str:
    """Write which settings that all rows share differ from the defaults."""
    changed = ", ".join(f"{name} = {value}" for name, value in changes(recipe).items()) or "none"
    return f"- Settings that differ from the defaults: {changed}. Every run folder holds its config.toml."


def made_with(outcomes: Outcomes) -> list[str]:
    """Write the versions and machines of some runs, a line of Markdown each."""
    versions = _versions([outcome.versions for outcome in outcomes if outcome])
    machines = dict.fromkeys(_machine(outcome.machine) for outcome in outcomes if outcome and outcome.machine)
    return [*([f"- Versions: {versions}."] if versions else []), *(f"- Machine: {words}." for words in machines)]


def _versions(of_runs: list[dict[str, str]]) -> str:
    """Write every package with all versions that runs were made with."""
    names = dict.fromkeys(name for versions in of_runs for name in versions)
    used = {name: dict.fromkeys(v[name] for v in of_runs if name in v) for name in names}
    return "; ".join(f"{name} {' and '.join(values)}" for name, values in used.items())


def _machine(values: dict[str, Any]) -> str:
    gpu = f"{values['gpu']}, " if "gpu" in values else ""
    return f"{gpu}{values.get('cores')} cores of {values.get('processor')}, {values.get('system')}"


def changes(recipe: Config) -> dict[str, Any]:
    """Give the settings that all rows share and that are not the defaults."""
    default = config_to_dict(network_config(Config()))
    return {name: value for name, value in config_to_dict(recipe).items() if value != default[name]}


def _named(corpora: Sequence[str]) -> str:
    """Write corpora as the paper does; others as on the command line."""
    return " and ".join({"savee": "SAVEE", "meld": "MELD"}.get(name, name) for name in corpora)


def aligned(rows: list[list[str]]) -> list[str]:
    """Lay out a Markdown table whose columns are as wide as their widest cell, for readers at a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
