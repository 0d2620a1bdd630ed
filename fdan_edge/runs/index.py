"""Find run folders, read their scores and settings, compare them. Imports no torch, which would take seconds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fdan_edge.config import DECISIVE, Config, config_to_dict, method_name, read_toml, saved_config
from fdan_edge.errors import CheckpointError, ConfigError, one_line, shown, unknown_choice
from fdan_edge.runs import provenance
from fdan_edge.utils.small_files import read_json, read_json_lines

SORTS = ("name", "uar", "date")
TRAINING, FINISHED, UNFINISHED, DIVERGED, DAMAGED = "training", "finished", "unfinished", "diverged", "damaged"


@dataclass(frozen=True)
class RunRow:
    """One run; None where the folder does not say."""

    name: str  # for people: the path below the folder that was searched, or below what several share
    folder: str
    state: str
    problem: str = ""  # why it is damaged
    method: str | None = None
    backbone: str | None = None
    done: int | None = None  # epochs
    epochs: int | None = None
    best_epoch: int | None = None
    val_uar: float | None = None  # of the best epoch
    test_uar: float | None = None
    test_interval: list[float] | None = None  # 95 %
    seconds: float | None = None  # of an epoch: the median
    rate: float | None = None  # voices per second: likewise
    skipped: int | None = None  # steps whose loss or gradient was not finite
    seed: int | None = None
    commit: str | None = None
    dirty: bool | None = None  # whether the code was not that of the commit
    date: str | None = None  # of the beginning, ISO 8601, UTC
    data: dict[str, Any] = field(default_factory=dict)  # count and sha256 of each part
    settings: dict[str, Any] = field(default_factory=dict)  # those that decide the result, and the corpora

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def find_runs(folders: Sequence[Path]) -> list[RunRow]:
    """Find all run folders below some folders, each once, in the order of their names.

    Raises:
        CheckpointError: one of the folders does not exist.
    """
    seen: set[tuple[int, int]] = set()
    rows, base = [], _base(folders)
    for top in folders:
        if not top.is_dir():
            if top.exists():
                raise CheckpointError(f"{top}: not a folder of runs")
            raise CheckpointError(f"{top}: no such folder; `fdan-edge train --out {top}/NAME` makes a run in it")
        for folder in _below(top, seen):
            name = os.path.relpath(folder, base) if base else str(folder)
            rows.append(read_run(folder, folder.resolve().name if name == "." else name))
    return sorted(rows, key=lambda row: _natural(row.name))


def sort_runs(rows: list[RunRow], by: str) -> list[RunRow]:
    """Sort runs by name, by validation UAR (best first) or by date (newest first). Runs without one come last.

    There is no order by test scores: a test that settings are chosen by is no test any more.

    Raises:
        ConfigError: another order.
    """
    if by not in SORTS:
        raise ConfigError(unknown_choice("order", by, SORTS))
    if by == "uar":
        return sorted(rows, key=lambda row: -1.0 if row.val_uar is None else row.val_uar, reverse=True)
    if by == "date":
        return sorted(rows, key=lambda row: row.date or "", reverse=True)
    return rows


def differing(rows: Sequence[RunRow]) -> dict[str, list[Any]]:
    """Find the settings in which runs differ: each run's value, None where it is not known."""
    known = [row.settings for row in rows if row.settings]
    names = dict.fromkeys(name for settings in known for name in settings)
    return {
        name: [row.settings.get(name) for row in rows]
        for name in names
        if any(settings.get(name) != known[0].get(name) for settings in known)
    }


def data_letters(rows: Sequence[RunRow], parts: Sequence[str] = ("speech", "target")) -> list[str]:
    """Name the data of runs: A for those of the first, B for others, and so on; "" where they are not known."""
    named: dict[str, str] = {}
    letters = []
    for row in rows:
        key = "".join(str(row.data[part]["sha256"]) for part in parts if part in row.data)
        letters.append(named.setdefault(key, _letters(len(named))) if key else "")
    return letters


def read_run(folder: Path, name: str) -> RunRow:
    """Read a run folder's row; one that cannot be read is damaged."""
    try:
        info = read_toml(folder / "run.toml")
        if not str(info.get("format")).startswith("fdan-edge run"):
            raise ValueError("run.toml: not of fdan-edge")
        row = _row(folder, name, saved_config(read_toml(folder / "config.toml")), info)
        _check_values(row)
        return row
    except (
        ConfigError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        reason = one_line(error).removeprefix(f"{folder}{os.sep}")
        problem = f"{type(error).__name__}: {reason}" if _terse(error) else reason
        return RunRow(name, str(folder), DAMAGED, problem)


def _row(folder: Path, name: str, config: Config, info: dict[str, Any]) -> RunRow:
    lines, metrics = _epochs(folder / "epochs.jsonl"), _json(folder / "metrics.json")
    history = None
    with contextlib.suppress(ValueError):  # damaged: not known, the run itself is whole
        history = provenance.load(folder)
    session = history["sessions"][0] if history else {}
    rates = [float(line["rate"]) for line in lines if line.get("rate")]
    best = _best(lines, config, info, metrics.get("best_epoch"))
    test = metrics.get("test", {})
    return RunRow(
        name=name,
        folder=str(folder),
        state=_state(folder, len(lines), config, metrics),
        method=method_name(config, faces=bool(info["faces"])),
        backbone=config.backbone,
        done=len(lines),
        epochs=config.epochs,
        best_epoch=best.get("epoch"),
        val_uar=best.get("val_uar"),
        test_uar=test.get("uar"),
        test_interval=test["intervals"]["uar"] if "intervals" in test else None,
        seconds=statistics.median(float(line["seconds"]) for line in lines) if lines else None,
        rate=statistics.median(rates) if rates else None,
        skipped=sum(int(line.get("skipped", 0)) for line in lines),
        seed=config.seed,
        commit=session.get("commit"),
        dirty=session.get("dirty"),
        date=session.get("date"),
        data=history["data"] if history else {},
        settings=_settings(config, info),
    )


def _check_values(row: RunRow) -> None:
    """Raise ValueError where a file has text for a number, or the other way round."""
    for name in ("best_epoch", "val_uar", "test_uar"):
        if type(value := getattr(row, name)) not in (int, float, type(None)):
            raise ValueError(f"{name} = {shown(value)} is not a number")
    for name in ("commit", "date"):
        if type(value := getattr(row, name)) not in (str, type(None)):
            raise ValueError(f"{name} = {shown(value)} is not text")
    interval = row.test_interval
    if interval is not None and (len(interval) != 2 or any(type(end) not in (int, float) for end in interval)):
        raise ValueError(f"the interval {shown(interval)} is not two numbers")


def _settings(config: Config, info: dict[str, Any]) -> dict[str, Any]:
    from fdan_edge.data.corpora import name_of  # late: a list of runs does not need the readers

    corpora = {
        part: " + ".join(sorted({name_of(str(source)) for source in info.get(part, [])})) or "none"
        for part in ("speech", "faces", "target")
    }
    values = config_to_dict(config)
    return {**{name: values[name] for name in DECISIVE}, **corpora}


def _state(folder: Path, done: int, config: Config, metrics: dict[str, Any]) -> str:
    if metrics and done >= config.epochs:
        return FINISHED
    if _is_training(folder):
        return TRAINING
    return DIVERGED if metrics else UNFINISHED  # scores before the last epoch are of a training that diverged


def _is_training(folder: Path) -> bool:
    """Tell whether a process holds the lock of `run_folder.sole_writer`.

    It tries a shared lock, so that two readers at once do not take each other for a training.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False


def _best(lines: list[dict[str, Any]], config: Config, info: dict[str, Any], number: int | None) -> dict[str, Any]:
    """Find the epoch whose weights are kept: `number`, or what `Trainer.best` would choose so far."""
    if not lines:
        return {}
    if chosen := [line for line in lines if line["epoch"] == number]:
        return chosen[0]
    if config.method != "fdan" or info.get("target"):
        return lines[-1]
    return min(lines, key=lambda line: float(line["val_loss"]))


def _epochs(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        lines = read_json_lines(path)
    except ValueError as error:
        raise ValueError(f"{path.name}: {one_line(error)}") from None
    for number, line in enumerate(lines, 1):
        if not {"epoch", "val_uar", "val_loss", "seconds"} <= line.keys():
            raise ValueError(f"{path.name}: line {number} is not that of an epoch")
    return lines


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path, finite=False))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {one_line(error)}") from None


def _base(folders: Sequence[Path]) -> str:
    """Find the path that some folders share; "" where they share none."""
    try:
        return os.path.commonpath(folders)
    except ValueError:  # absolute and relative ones
        return ""


def _below(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the run folders in a folder, itself among them; links are followed, no folder is visited twice."""
    try:
        state = folder.stat()
        if (state.st_dev, state.st_ino) in seen:
            return
        seen.add((state.st_dev, state.st_ino))
        with os.scandir(folder) as entries:
            children = [(entry.is_symlink(), _natural(entry.name), entry) for entry in entries if entry.is_dir()]
        if (folder / "run.toml").is_file():
            yield folder
            return
    except OSError:  # not readable, or deleted meanwhile
        return
    # Links last, so that a run is called by its own name. What begins with a dot is being written.
    for _, _, entry in sorted(children, key=lambda child: child[:2]):
        if not entry.name.startswith("."):
            yield from _below(folder / entry.name, seen)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts fold-2 before fold-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split("([0-9]+)", name)]


def _letters(number: int) -> str:
    """Write a number as A to Z, then AA and so on."""
    return (_letters(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _terse(error: Exception) -> bool:
    """Tell whether an error's text says nothing without its type."""
    return isinstance(error, (KeyError, TypeError, AttributeError))
