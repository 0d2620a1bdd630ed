"""The command line: a file for each verb; `render` holds what they print, `actions` what the larger ones do.

Heavy imports stay inside the verbs, so that --help is quick.
"""

from __future__ import annotations

import gc
import io
import os
import re
import sys
import time
from typing import NoReturn

from fdan_edge.errors import FdanEdgeError, is_out_of_memory, one_line, printable
from fdan_edge.utils import messages

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on standard error and exit code 2."""
    gc.set_threshold(100_000, 50, 50)  # importing PyTorch makes a million objects, and looks for garbage in vain
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # never fail on what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        if sys.stdout:  # not where it is closed
            sys.stdout.flush()  # when Python ends it would be too late for an error of ours
        sys.exit(code)
    except FdanEdgeError as error:
        _fail(str(error))
    except BrokenPipeError:  # as with `| head`; Typer ends so too, where it sees it
        _stdout_fails()
        sys.exit(1)
    except (OSError, MemoryError) as error:
        _fail(_system_error(error))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _fail(f"{one_line(error)}; smaller batches need less: --set batch_size=... when training")
    except KeyboardInterrupt:
        _interrupted()


def _run(arguments: list[str] | None) -> int:
    """Run a command; gives its exit code."""
    from typer import TyperException

    from fdan_edge.cli.app import app
    from fdan_edge.cli.usage import is_help, usage_message

    try:
        with messages.shown():
            code: int | None = app(arguments, prog_name="fdan-edge", standalone_mode=False)
    except TyperException as error:
        if is_help(error):
            print(error.message, end="\n" if error.message else "")  # noqa: T201
            return USER_ERROR
        _fail(usage_message(error))
    if code == INTERRUPTED:  # Typer turns KeyboardInterrupt into this, without a word
        _interrupted()
    return code or 0


def _fail(message: str) -> NoReturn:
    line = printable(re.sub(r"\s*\n\s*", " ", message.strip()))
    if (rank := os.environ.get("RANK", "0")) != "0":  # of torchrun's processes the first says what all would say
        time.sleep(2)
        line = f"process {rank}: {line}"
    print(f"error: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(USER_ERROR)


def _interrupted() -> NoReturn:
    print("interrupted", file=sys.stderr)  # noqa: T201
    sys.exit(INTERRUPTED)


def _stdout_fails() -> bool:
    """Tell whether what was printed and waits cannot be written; then it is dropped."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its end
        return True
    return False


def _system_error(error: OSError | MemoryError) -> str:
    """Say in the system's words what failed, disk full or no permission, and name the file."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename or ("standard output" if _stdout_fails() else "")
        return f"{name}: {error.strerror}" if name else error.strerror
    return f"{type(error).__name__}: {one_line(error)}"
