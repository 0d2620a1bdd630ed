"""provenance.json: the data, seeds, code and machine of a run, with one session for each time it was trained.

{
  "data": {"speech": {"count": 1440, "sha256": "..."}, "faces": ..., "target": ...},   only parts that the run has
  "seeds": {"seed": 0, "split_seed": 0},
  "complete": true,                           false: the file was damaged when the run was resumed
  "sessions": [{"date", "command", "processes", "commit", "dirty", "versions", "machine"}, ...]
}

A session whose data are not those at the top has its own `data`. No part of it comes from the environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdan_edge._version import __version__
from fdan_edge.config import Config
from fdan_edge.errors import one_line, printable
from fdan_edge.utils import machine as machines
from fdan_edge.utils.files import write_json
from fdan_edge.utils.small_files import read_json

if TYPE_CHECKING:
    from fdan_edge.data.corpora import Item

FILE = "provenance.json"
#: Beside PyTorch, what features are computed with.
_PACKAGES = ("av", "librosa", "numpy", "opencv-python-headless", "pillow", "soundfile", "soxr")
#: Of a machine: what decides the last bits of a sum.
_DECISIVE = ("processor", "cores", "instructions", "gpus", "gpu", "computes_in")
_GIT_SECONDS = 2.0
_CONSEQUENCE = "the result will not be bit for bit that of an undisturbed run"


def gather(
    config: Config, data: Mapping[str, Sequence[Item]], *, processes: int = 1, computes_in: str = "fp32"
) -> dict[str, Any]:
    """Gather the data, seeds, code and machine of a training, at this moment, for `record`.

    Args:
        data: all items of `speech`, `faces` and `target`; those without items are left out.
        processes: how many train together.
        computes_in: the number format; with `precision = auto` it is the machine's choice.
    """
    return {
        "data": _data(data),
        "seeds": {"seed": config.seed, "split_seed": config.split_seed},
        "session": {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": command_line(),
            "processes": processes,
            **_checkout(Path(__file__).parent),
            "versions": {**versions(), **machines.versions(_PACKAGES)},
            "machine": {**machines.machine_info(), **_gpu(), "computes_in": computes_in},
        },
    }


def record(folder: Path, now: Mapping[str, Any], *, resume: bool) -> list[str]:
    """Write what `gather` returned into a run folder; with `resume`, after the sessions that are there.

    Returns:
        Warnings for people: those of `changed`, or that the file was damaged.

    Raises:
        OSError: the file cannot be written.
    """
    warnings, session, data = [], dict(now["session"]), now["data"]
    history = None
    if resume:
        warnings = changed(folder, now)
        with contextlib.suppress(ValueError):
            history = load(folder)
    if history is None:
        history = {"data": data, "seeds": now["seeds"], "complete": not resume, "sessions": []}
    if history["data"] != data:
        session["data"] = data
    write_json(folder / FILE, {**history, "sessions": [*history["sessions"], session]})
    return warnings


def changed(folder: Path, now: Mapping[str, Any]) -> list[str]:
    """List what differs now from when the run began, a line for each; nothing where that was not recorded."""
    try:
        history = load(folder)
    except ValueError as error:
        return [f"{folder / FILE}: damaged ({error}): begun anew; what the run began with is not known"]
    if history is None:
        return []
    first, session = history["sessions"][0], now["session"]
    lines = _data_changes(history["data"], now["data"])
    pairs = {
        "other versions": (first["versions"], session["versions"], list(session["versions"])),
        "another machine": (first["machine"], session["machine"], _DECISIVE),
        "another number of processes": (first, session, ["processes"]),
        "other code": (first, session, ["commit", "dirty"]),
    }
    for what, (then, present, names) in pairs.items():
        if differences := _differences(then, present, names):
            lines.append(f"{what} ({differences})")
    return [f"{line}: {_CONSEQUENCE}" for line in lines]


def load(folder: Path) -> dict[str, Any] | None:
    """Read what `record` wrote; None where there is no such file.

    Raises:
        ValueError: damaged.
    """
    try:
        values: dict[str, Any] = read_json(folder / FILE, finite=False)
        for part in values["data"].values():
            (int(part["count"]), str(part["sha256"]))
        for session in values["sessions"]:
            (session["versions"].items(), session["machine"].items(), session["date"])
        if not values["sessions"]:
            raise ValueError("no sessions")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(one_line(error)) from None
    return values


def versions() -> dict[str, str]:
    """List the versions of this package and of what computes."""
    import torch  # late: reading provenance must not take the seconds of this import
    import torchvision

    return {
        "fdan_edge": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def command_line() -> str:
    """Return the command that this process was started with."""
    program = Path(sys.argv[0]).name
    words = ["fdan-edge" if program == "__main__.py" else program, *sys.argv[1:]]
    return printable(shlex.join(words))


def _data(data: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
    """Count and hash each part's items: their names, labels and the contents of their files."""
    from fdan_edge.features import store  # late, as above

    table = store.contents_table()
    parts = {part: _hashed(items, table.digests) for part, items in data.items() if items}
    with contextlib.suppress(OSError):  # then the files are read again next time
        table.save()
    return parts


def _hashed(items: Sequence[Item], digests: Any) -> dict[str, Any]:
    paths = list(dict.fromkeys(item.path for item in items))
    known = dict(zip(paths, digests(paths, "data"), strict=True))
    lines = sorted(f"{item.key}\0{item.emotion}\0{known[item.path] or ''}\n" for item in items)
    digest = hashlib.sha256("".join(lines).encode(errors="surrogateescape"))
    return {"count": len(items), "sha256": digest.hexdigest()}


def _gpu() -> dict[str, str]:
    import torch  # late, as above

    return {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def _checkout(package: Path) -> dict[str, Any]:
    """Find the commit of the checkout that holds this package, and whether tracked files differ from it."""
    # A package installed below another project's checkout is not of that project: its files are not tracked.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    commit = _git(package, "rev-parse", "HEAD")
    state = _git(package, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit or None, "dirty": None if state is None else bool(state)}


def _git(folder: Path, *words: str) -> str | None:
    """Return what git prints; None without git, a repository, or an answer in time."""
    # Variables that a hook of another repository set would lead git there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            check=True,
            timeout=_GIT_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.decode(errors="replace").strip()


def _data_changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    lines = []
    for part in dict.fromkeys([*then, *now]):
        if then.get(part) != now.get(part):
            old, new = (of.get(part, {}).get("count", 0) for of in (then, now))
            detail = f"{old} then, {new} now" if old != new else f"{old} as then, of other content or labels"
            lines.append(f"other {part} than the run began with ({detail})")
    return lines


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str]) -> str:
    """Write `torch 2.13 then, 2.14 now` of each name whose values differ."""
    return "; ".join(
        f"{name} {_word(then.get(name))} then, {_word(now.get(name))} now"
        for name in names
        if then.get(name) != now.get(name)
    )


def _word(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(str(v.get("name", v) if isinstance(v, dict) else v) for v in value) or "none"
    return "unknown" if value is None else str(value)
