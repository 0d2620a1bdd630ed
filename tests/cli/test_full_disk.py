"""A disk that is full: one line that names the file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FULL = "No space left on device"


@pytest.mark.parametrize("option", ["--rttm", "--csv", "--audacity"])
def test_what_a_stream_writes(
    fails: Callable[..., str], bundle_folder: Path, ravdess_tree: Path, option: str
) -> None:
    recording = next(ravdess_tree.rglob("*.wav"))
    assert fails("stream", bundle_folder, recording, option, "/dev/full") == f"/dev/full: {FULL}"


def test_the_table_of_infer(fails: Callable[..., str], bundle_folder: Path, ravdess_tree: Path) -> None:
    recording = next(ravdess_tree.rglob("*.wav"))
    assert fails("infer", bundle_folder, recording, "--csv", "/dev/full") == f"/dev/full: {FULL}"


@pytest.mark.parametrize("words", [["data", "cache"], ["data", "cache", "--json"], ["--help"]], ids=" ".join)
def test_standard_output(words: list[str]) -> None:
    command = [sys.executable, "-m", "fdan_edge", *words]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=buffered)
    assert (done.returncode, done.stderr) == (2, f"error: standard output: {FULL}\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "fdan_edge", "data", "cache", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
