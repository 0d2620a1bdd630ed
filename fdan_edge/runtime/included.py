"""The models that come with the package: bundles in `fdan_edge/bundles`, each by its name. Imports no torch."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from fdan_edge.errors import BundleError, unknown_choice
from fdan_edge.runtime.about import read_about
from fdan_edge.runtime.bundle import Bundle, is_bundle

log = logging.getLogger(__name__)

#: Where they lie: in the package, so that a wheel of any kind and an editable installation have them.
FOLDER = Path(__file__).resolve().parents[1] / "bundles"
#: The model where none is named. It may be used for anything.
DEFAULT = "open"


def names() -> list[str]:
    """List the names, the default first."""
    folders = FOLDER.iterdir() if FOLDER.is_dir() else ()
    return sorted((path.name for path in folders if is_bundle(path)), key=lambda name: (name != DEFAULT, name))


def find(name: str) -> Path:
    """Give the folder of a model that comes with the package.

    Raises:
        BundleError: there is none of that name.
    """
    known = names()
    if not known:
        raise BundleError(
            f"{FOLDER}: no model comes with this installation; name a bundle, or `make models` in a checkout"
        )
    if name not in known:
        raise BundleError(unknown_choice("model", name, known))
    return FOLDER / name


def locate(target: str | os.PathLike[str] | None = None) -> Path:
    """Give the path of what is to run.

    Args:
        target: a bundle, an .onnx file or a run folder; as text also the name of a model of the package, which
            goes before a path of that name: `./open` is a path; None: the default.

    Raises:
        BundleError: the package has no default model.
    """
    if target is None:
        return find(DEFAULT)
    return FOLDER / target if isinstance(target, str) and target in names() else Path(target)


def introduce(path: Path) -> None:
    """Say in one line which model of the package is used, and on which terms; nothing of any other model.

    Terms that do not allow every use are a warning.

    Raises:
        BundleError: it is damaged.
    """
    if path.parent != FOLDER:
        return
    about = read_about(Bundle.open(path))
    if about is None:
        log.info(f"model {path.name} of the package")
        return
    line = f"model {path.name} ({', '.join(about.languages)}): {about.terms}"
    if about.use == "any":
        log.info(f"{line}; `fdan-edge models` lists what there is")
    else:
        log.warning(line)
