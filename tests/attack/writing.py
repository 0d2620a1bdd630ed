"""Attacks on what is written: killed commands, two at once, full disks, read-only folders."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from markdown_it import MarkdownIt

from fdan_edge.errors import BundleError
from fdan_edge.runtime.bundle import Bundle
from tests.attack.attack import attack, check
from tests.attack.command import Done, run_command
from tests.attack.place import Impossible, Place, bundle, noise, recording
from tests.attack.trained import run_folder
from tests.attack.wire import BINARY, TEXT, streaming

_KILLS = 6  # of an export; the test suite kills more, inside of one process
_NOBODY = 65_534


@attack("the earlier bundle is there, or the new one")
def kill_an_export(place: Place) -> str:
    """End an export by kill -9 at random moments of its second half, over an earlier bundle."""
    out, rng = place.folder / "bundle", random.Random(0)
    words: list[str | Path] = ["export", run_folder(), "--out", out, "--force"]
    took = run_command(words, 240)
    check(took.code == 0, f"the export fails: {took.err[-100:]}")
    broken = []
    for number in range(_KILLS):
        run_command(words, took.seconds * rng.uniform(0.5, 1.05))
        broken += [f"{number}: {problem}"] if (problem := _problem(out)) else []
    left = sorted(path.name for path in place.folder.iterdir() if path != out)
    again = run_command(words, 240)
    check(again.code == 0, f"the next export fails: {again.err[-100:]}")
    after = sorted(path.name for path in place.folder.iterdir() if path != out)
    held = not broken and not [name for name in after if not name.endswith(".lock")]
    return check(
        held,
        f"{_KILLS} kills, broken: {broken or 'none'}; left behind: {left or 'nothing'}, then {after or 'nothing'}",
    )


@attack("no HTML, and no link")
def names_of_classes_in_the_model_card(place: Place) -> str:
    """Train a class whose name is HTML and Markdown, export it, and read the bundle's card as a page does."""
    out = place.folder / "bundle"
    done = run_command(["export", run_folder(), "--out", out, "--force"], 240)
    check(done.code == 0, f"the export fails: {done.problem or done.err[-100:]}")
    page = MarkdownIt().enable("table").render((out / "README.md").read_text())
    tags = sorted(set(re.findall(r"<(img|a|script|svg)\b", page)))
    return check("onerror" in page and not tags, f"elements: {tags or 'none'}")


@attack("each ends with 0 or a line; the bundle is whole at any time")
def two_exports_into_one_folder(place: Place) -> str:
    """Start two exports into one folder at once, over an earlier bundle, and read the bundle meanwhile."""
    out, done, problems = place.folder / "bundle", list[Done](), set[str]()
    words: list[str | Path] = ["export", run_folder(), "--out", out, "--force"]
    run_command(words, 240)
    threads = [threading.Thread(target=lambda: done.append(run_command(words, 240))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        problems.add(_problem(out))
        time.sleep(0.02)
    problems |= {one.problem for one in done} | {_problem(out)}
    codes = sorted(str(one.code) for one in done)
    problems.discard("")
    return check(
        not problems and set(codes) <= {"0", "2"} and "0" in codes, f"exit codes {codes}; {problems or 'whole'}"
    )


@attack("one line that names the file; what was there stays")
def full_disk(place: Place) -> str:
    """Let a command write no more than some kilobytes: tables, bundles, trainings."""
    earlier = place.folder / "bundle"
    shutil.copytree(bundle(), earlier)
    table = place.folder / "a.csv"
    table.write_text("earlier\n")
    many = place.folder / "many"
    many.mkdir()
    for number in range(60):
        (many / f"{'a' * 100}{number}.wav").symlink_to(recording())
    done = [
        _limited(["infer", bundle(), many, "--csv", table], 4096),
        _limited(["export", run_folder(), "--out", earlier, "--force"], 50_000),
        _limited(["infer", bundle(), recording(), "--csv", "/dev/full"], 1 << 30),
    ]
    wrong = [
        one.problem or f"exit code {one.code}: {one.err[-80:]}" for one in done if one.code != 2 or one.problem
    ]
    lost = _problem(earlier)
    return check(
        not wrong and not lost, f"{len(done)} tries, {wrong or 'all told'}; earlier bundle {lost or 'whole'}"
    )


@attack("one line that names the file")
def read_only_folders(place: Place) -> str:
    """Write into folders that may only be read, as a user who is not root."""
    folder = place.folder / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    prefix = _as_a_user()
    words: list[list[str | Path]] = [
        ["infer", bundle(), recording(), "--csv", folder / "a.csv"],
        ["export", run_folder(), "--out", folder / "bundle", "--force"],
        ["stream", bundle(), recording(), "--rttm", folder / "a.rttm"],
    ]
    done = [run_command(one, 120, prefix=prefix) for one in words]
    wrong = [
        one.problem or f"exit code {one.code}" for one in done if not one.refused or str(folder) not in one.err
    ]
    return check(not wrong and not list(folder.iterdir()), f"{len(done)} tries, {wrong or 'all told'}")


@attack("answers as ever")
def clocks_that_jump(place: Place) -> str:
    """Let the clock jump back an hour or on by a day at every look, and give files of 1901 and of 2400."""
    module = place.folder / "path" / "sitecustomize.py"
    module.parent.mkdir()
    module.write_text(_JUMPING)
    folder = shutil.copytree(bundle(), place.folder / "bundle")
    sound = place.folder / "sound.wav"
    shutil.copy(recording(), sound)
    for seconds in (-2_160_000_000, 13_600_000_000):
        for path in (sound, *folder.iterdir()):
            os.utime(path, (seconds, seconds))
        usual = run_command(["infer", folder, sound, "--json"])
        jumping = run_command(["infer", folder, sound, "--json"], environment={"PYTHONPATH": str(module.parent)})
        check(usual.code == 0 and not usual.problem, usual.problem or usual.err[-80:])
        check(jumping.out == usual.out, f"another answer: {jumping.problem or jumping.err[-80:]}")
    with place.serve(environment={"PYTHONPATH": str(module.parent)}) as served, streaming(served.port) as wire:
        for _ in range(20):
            wire.frame(BINARY, noise(0.1).tobytes())
        wire.frame(TEXT, b'{"type": "stop"}')
        code, log = wire.close_code(), served.log()
    return check(
        code == 1000 and not log, f"the same answers; a stream ends with {code}; {len(log)} characters of log"
    )


_JUMPING = """
import itertools
import time

_now, _jumps = time.time, itertools.cycle((-3600, 0, 86400, -90000))
time.time = lambda: _now() + next(_jumps)
time.time_ns = lambda: int(time.time() * 1e9)
"""


def _limited(words: list[str | Path], size: int) -> Done:
    """Run a command that may write no file larger than `size` bytes, as on a disk that becomes full."""
    return run_command(words, 120, prefix=["prlimit", f"--fsize={size}"])


def _as_a_user() -> list[str]:
    """Return what runs a command as somebody who is not root.

    Raises:
        Impossible: there is no such program, or that user cannot read this checkout.
    """
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    for path in (sys.executable, run_folder() / "run.toml"):
        try:
            subprocess.run([*prefix, "head", "-c1", str(path)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise Impossible(f"root may write anywhere, and another user cannot read {path}") from None
    return prefix


def _problem(folder: Path) -> str:
    """Return what is wrong with a bundle; "" for nothing."""
    try:
        Bundle.open(folder).verify()
    except (BundleError, OSError) as error:
        return str(error).partition(": ")[2][:80]
    return ""
