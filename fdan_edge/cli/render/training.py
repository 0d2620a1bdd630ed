"""What `fdan-edge train` and `crossval` print: scores, and what to do next."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from fdan_edge.cli.render.console import out
from fdan_edge.cli.render.scores import confusion_table, corpora_table, print_reliability, score_line

if TYPE_CHECKING:
    from fdan_edge.experiments.crossval import CrossValidation


def trained(folder: Path, metrics: dict[str, Any]) -> None:
    """Print the scores of a training, and what to do next.

    Args:
        folder: the run folder.
        metrics: as in metrics.json.
    """
    test = metrics["test"]
    out.print(Text.assemble((metrics["method"], "bold"), f", {metrics['protocol']}"))
    out.print(f"audit: {metrics['audit']['verdict']}")
    if "scores_of" in metrics:
        _print_head_lines(metrics)
    else:
        val, epoch = metrics["val"], metrics["best_epoch"]
        out.print(f"kept: {metrics['epoch_choice']}")
        out.print(f"epoch {epoch}: validation UAR {100 * val['uar']:.1f} % (n = {val['n']})")
    if "target" in metrics:
        out.print(_target_lines(metrics["target"], len(test["labels"])))
    if "same_speakers" in metrics:
        out.print("on new speakers:")
    out.print(score_line(test))
    print_reliability(test)
    out.print(_temperature(metrics["calibration"], "cross-validated" if "scores_of" in metrics else "validation"))
    files = "checkpoint.safetensors, metrics.json, epochs.jsonl, *.png"
    out.print(f"run folder {folder}: {files}", markup=False)
    _print_verdict(folder, metrics["verdict"])


def _print_head_lines(metrics: dict[str, Any]) -> None:
    """Say which models and voices a head's scores are of."""
    out.print(f"scores of {metrics['scores_of']}", soft_wrap=False)
    out.print(metrics["test"]["part"], soft_wrap=False, markup=False)
    if known := metrics.get("same_speakers"):
        low, high = (100 * edge for edge in known["intervals"]["uar"])
        out.print(
            f"on new recordings of the same speakers: UAR {100 * known['uar']:.1f} % ({low:.1f} to {high:.1f})"
        )


def _print_verdict(folder: Path, verdict: dict[str, Any]) -> None:
    """Print what speaks against the model, and what to do next where nothing forbids it."""
    for line in verdict["warnings"]:
        out.print(Text.assemble(("warning:", "yellow"), f" {line}"), soft_wrap=False)
    if verdict["useless"]:
        out.print(Text.assemble(("do not use this model:", "red"), f" {verdict['useless']}"), soft_wrap=False)
    else:
        out.print(f"next: fdan-edge export {folder} --target cpu --out bundles/{folder.name}", markup=False)


def _target_lines(values: dict[str, Any], classes: int) -> str:
    """Write what the target corpus says of a model without its labels."""
    most = math.log(classes)
    information = f"information {values['information']:.2f} of at most {most:.2f} nats"
    line = f"target: {values['n']} recordings, labels not used; {information}"
    return f"{line}\n(more is better; it compares settings)"


def _temperature(values: dict[str, Any], which: str) -> str:
    """Write what calibration did, from `Temperature.to_dict()`, and on `which` recordings."""
    ece = " to ".join(f"{100 * values[f'ece_{when}']:.1f}" for when in ("before", "after"))
    nll = " to ".join(f"{values[f'nll_{when}']:.3f}" for when in ("before", "after"))
    fitted_on = f"fitted on {values['n']} {which} recordings"
    return f"temperature {values['temperature']:.2f}, {fitted_on};\nthere ECE {ece} %, NLL {nll}"


def crossvalidated(result: CrossValidation) -> None:
    """Print each fold's scores, those of all folds together, and how far the folds are apart."""
    from fdan_edge.training.verdict import why_useless

    values = result.to_dict()
    out.print(Text.assemble((values["method"], "bold"), f", {values['protocol']}"))
    for fold in [] if "corpora" in values else values["folds"]:
        out.print(f"{fold['run']}: {score_line(fold['test'])}", markup=False)
    if "corpora" in values:
        out.print(corpora_table(values["corpora"]))
    every = "all corpora" if "corpora" in values else "all folds"
    for name in ("pooled", "merged"):
        if pooled := values[name]:
            out.print("calm counted as neutral" if name == "merged" else every, style="bold")
            out.print(f"{score_line(pooled)}\n{_over_folds(pooled, every.removeprefix('all '))}")
            print_reliability(pooled)
            out.print(confusion_table(pooled["labels"], pooled["confusion"]))
            if useless := why_useless(pooled):
                out.print(Text.assemble(("do not use such models:", "red"), f" {useless}"), soft_wrap=False)
    out.print(f"audit: {values['audit']}")
    out.print(f"folder {result.folder}: crossval.json, fold-*, *.png", markup=False)


def _over_folds(values: dict[str, Any], what: str) -> str:
    """Write mean and standard deviation over the folds or corpora, from `Pooled.to_dict()`."""
    named = {"UAR": "uar", "WAR": "war", "w-F1": "wf1"}
    each = [f"{name} {100 * values['mean'][k]:.1f} ± {100 * values['sd'][k]:.1f} %" for name, k in named.items()]
    return f"mean and sd over {what}: {', '.join(each)}"
