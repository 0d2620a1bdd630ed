"""Say in one line what is wrong with a command line that Typer refuses."""

from __future__ import annotations

import re
from typing import Any

from typer import TyperException


def is_help(error: TyperException) -> bool:
    """Tell whether no verb was given: the message is the help then, or Typer has printed that already."""
    return type(error).__name__ == "NoArgsIsHelpError"


def usage_message(error: TyperException) -> str:
    """Give one line that names the option, the wrong value and the command that lists the valid ones.

    Typer prints the usage and a box of its own, which scripts and logs cannot read as one line.
    """
    text = error.format_message()
    option = re.match(r"Invalid value for '(?P<name>.*?)': ", text)
    if option and error.__cause__ is not None:
        text = f"{option['name']} {_reason(error.__cause__)}"
    text = re.sub(r"\. Did you mean (.*)\?$", r" (did you mean \1?)", text).rstrip(".")
    text = text[0].lower() + text[1:]
    context = getattr(error, "ctx", None)
    return f"{text}; `{context.command_path if context else 'fdan-edge'} -h` lists what is valid"


def _reason(cause: BaseException) -> str:
    """Give what pydantic says of a value, and the value."""
    details: list[dict[str, Any]] = getattr(cause, "errors", list)()
    if not details:
        return str(cause)
    message = details[0]["msg"].removeprefix("Value error, ").removeprefix("Input ").partition(", unable")[0]
    value = repr(details[0]["input"])
    return message if message.startswith(value) else f"{value} {message}"
