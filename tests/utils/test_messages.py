"""Messages: silent in a library, lines on standard error in a program."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from fdan_edge.utils import messages, progress

#: A message of each level, and a progress bar.
SPEAK = """
import logging
import fdan_edge
from fdan_edge.utils.progress import track
logging.getLogger("fdan_edge.data").info("all is well")
logging.getLogger("fdan_edge.data").warning("something is left out")
list(track([1, 2], "count"))
"""


def written(code: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_a_librarys_user_sees_none_unasked() -> None:
    assert written(SPEAK) == ("", "")


def test_a_user_may_ask_for_them_as_of_any_library() -> None:
    code = "import logging; logging.basicConfig(level='INFO', format='%(levelname)s %(name)s: %(message)s')"
    assert written(code + SPEAK) == (
        "",
        "INFO fdan_edge.data: all is well\nWARNING fdan_edge.data: something is left out\n",
    )


def test_a_program_shows_them_as_plain_lines_and_once() -> None:
    code = "import logging\nfrom fdan_edge.utils import messages\nlogging.basicConfig()\nwith messages.shown():"
    assert written(code + SPEAK.replace("\n", "\n  ")) == ("", "all is well\nsomething is left out\n")


def test_a_message_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """No markup, no percent signs, no line breaks of the console's own."""
    text = f"[bold]{'long ' * 40}[/] 100 % of %s"
    logging.getLogger("fdan_edge.data").info(text)
    assert capsys.readouterr().err == f"{text}\n"


def test_nothing_of_the_inside_of_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("fdan_edge.training")
    with progress.nested("trial 1/2"):
        log.info("epoch 1/2")
    log.info("trial 1/2")
    assert capsys.readouterr().err == "trial 1/2\n"


def test_the_logger_is_as_before_afterwards() -> None:
    logger = logging.getLogger("fdan_edge")
    (handler,) = (handler for handler in logger.handlers if isinstance(handler, messages.ConsoleHandler))
    logger.removeHandler(handler)  # the tests' own
    try:
        before = logger.level, logger.propagate, list(logger.handlers)
        with messages.shown():
            assert messages.are_shown()
            with messages.shown():  # as a command that is called by another
                pass
            assert messages.are_shown()
        assert not messages.are_shown()
        assert (logger.level, logger.propagate, logger.handlers) == before
    finally:
        logger.addHandler(handler)


def test_messages_are_kept_back_while_a_view_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("fdan_edge.data")

    def fail() -> None:
        with messages.kept_back():
            log.warning("later")
            assert capsys.readouterr().err == ""
            raise ZeroDivisionError

    with messages.shown():
        with pytest.raises(ZeroDivisionError):
            fail()
        assert capsys.readouterr().err == "later\n"
        log.warning("at once")
        assert capsys.readouterr().err == "at once\n"
