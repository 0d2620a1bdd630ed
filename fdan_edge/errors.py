"""The exceptions that users meet; every one carries a one-line message.

FdanEdgeError
├── ConfigError             a setting has an unknown name or a value that cannot work
├── DataError               a corpus, a label or a split is not usable
│   ├── AudioError          one recording cannot be used
│   └── LabelError          a user's own table or folders have mistakes; it lists them all
├── TrainingError           a training diverged
├── CheckpointError         a run folder or checkpoint is missing, cut short or of another kind
├── BundleError             a bundle or ONNX file is missing, cut short or of another kind
├── ExportError             an export was refused or failed its check
└── MissingDependencyError  a package is not installed; the message names the pip command
"""

from __future__ import annotations

import re
import shlex

#: How to install what training needs; for MissingDependencyError.
INSTALL_TRAINING = "pip install '.[train,cpu]' in a checkout of fdan-edge"
#: How to install what tuning needs, beside training.
INSTALL_TUNE = "pip install '.[train,tune,cpu]' in a checkout of fdan-edge"
#: How to install what reads the sound of videos, where nothing is trained.
INSTALL_VIDEO = "pip install '.[video]' in a checkout of fdan-edge"
#: How to install live streams, and their server.
INSTALL_STREAM = "pip install '.[stream]' in a checkout of fdan-edge"
INSTALL_SERVE = "pip install '.[serve]' in a checkout of fdan-edge"

#: How PyTorch says that memory is out: the first on CUDA, the others on the CPU.
_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory", re.IGNORECASE)


class FdanEdgeError(Exception):
    """Base of all errors whose message is meant for people."""


class ConfigError(FdanEdgeError):
    """Raised for a setting of an unknown name or with a value that cannot work."""


class DataError(FdanEdgeError):
    """Raised for a corpus, a label or a split that is not usable."""


class AudioError(DataError):
    """Raised for a recording that cannot be used."""


class LabelError(DataError):
    """Raised for a table or folders of a user's own with mistakes in them; `mistakes` are all, a line each.

    The message names the first three, and the command that lists the others.
    """

    def __init__(self, where: str, mistakes: tuple[str, ...]) -> None:
        super().__init__(where, mistakes)  # these, because a worker process sends them on to __init__
        self.where, self.mistakes = where, mistakes

    def __str__(self) -> str:
        if len(self.mistakes) == 1:
            return f"{self.where}{', ' if self.mistakes[0].startswith('line') else ': '}{self.mistakes[0]}"
        text = f"{self.where}: {len(self.mistakes)} mistakes: {'; '.join(self.mistakes[:3])}"
        if more := len(self.mistakes[3:]):
            source = shlex.quote(f"folder:{self.where}")
            text += f"; and {more} more: `fdan-edge data scan {source}` lists them all"
        return text


class TrainingError(FdanEdgeError):
    """Raised when a training diverges."""


class CheckpointError(FdanEdgeError):
    """Raised for a run folder or checkpoint that is missing, cut short or of another kind."""


class BundleError(FdanEdgeError):
    """Raised for a bundle or ONNX file that is missing, cut short or of another kind."""


class ExportError(FdanEdgeError):
    """Raised when an export is refused or fails its check."""


class MissingDependencyError(FdanEdgeError):
    """Raised where a package is not installed; the message names the pip command that installs it."""

    def __init__(self, package: str, purpose: str, command: str) -> None:
        super().__init__(package, purpose, command)  # these, because a worker process sends them on to __init__

    def __str__(self) -> str:
        package, purpose, command = self.args
        return f"{purpose} needs {package}, which is not installed: {command}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is out, on whatever device."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_MEMORY.search(str(error))))


def one_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of an error's text, at most `limit` characters, for a message.

    What libraries say may quote a file, so control characters are written as escapes.
    """
    text = str(error).strip() or type(error).__name__
    line = printable(text.splitlines()[0])
    return line if len(line) <= limit else line[: limit - 3] + "..."


def printable(text: str) -> str:
    """Return `text` with control characters, line breaks and bytes that are not UTF-8 written as escapes.

    File names may hold any of these; printed as they are, they break lines, terminals or the encoder.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object, limit: int = 80) -> str:
    """Return a wrong value as a message shows it, at most `limit` characters of it."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def unknown_choice(what: str, value: object, valid: tuple[str, ...] | list[str]) -> str:
    """Return the message for a wrong value, of any type: it names the nearest valid one and lists them all."""
    from difflib import get_close_matches

    near = get_close_matches(value, valid, n=1) if isinstance(value, str) else []
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"unknown {what} {shown(value)}{hint}; valid: {', '.join(valid)}"
