"""The verb that shows the whole job on the synthetic corpus: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdan_edge.cli.options import needs_one_process, needs_training


def demo(
    out: Annotated[Path, typer.Option(help="Where the run and the bundle go.")] = Path("demo"),
) -> None:
    """Everything on a small synthetic corpus, in minutes, on a CPU: train, score, export, run, time."""
    needs_one_process("demo")
    needs_training()
    from fdan_edge.cli.actions.demo import run_demo

    run_demo(out)
