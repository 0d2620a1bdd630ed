"""The command line: verbs in `app`, their output in `show`. Heavy imports stay inside the verbs."""

from __future__ import annotations

import sys

from fdan_edge.errors import FdanEdgeError, one_line

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on standard error and exit code 2."""
    from fdan_edge.cli.app import app

    try:
        app(arguments)
    except FdanEdgeError as error:
        _fail(str(error))
    except (OSError, MemoryError) as error:
        _fail(_system_error(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(USER_ERROR)


def _system_error(error: OSError | MemoryError) -> str:
    """Disk full, no permission, out of memory: the system's words and the file's name."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {one_line(error)}"
