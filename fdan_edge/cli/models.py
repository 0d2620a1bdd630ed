"""The verb that lists the models of the package: models."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from fdan_edge.cli.options import AsJson, print_json
from fdan_edge.errors import ConfigError


def models(
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="NAME", help="Show the card of this one.", show_default=False),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", metavar="", help="Time a window on this machine, with one thread.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the models that come with the package: size, speed, languages, scores, and what they may be used for.

    infer, stream and serve use the first where none is named; --model NAME chooses another.
    """
    from fdan_edge.cli.actions import models as action
    from fdan_edge.cli.render import models as show_models

    if name and measure and not as_json:
        raise ConfigError(
            "--measure goes with the list or with --json; a card says what was measured at its making"
        )
    rows = [action.row(one, measure=measure) for one in action.chosen(name)]
    if as_json:
        values = [one.to_dict() for one in rows]
        print_json(values[0] if name else values)
    elif name:
        show_models.card(action.card(name))
    else:
        show_models.listed(rows)
