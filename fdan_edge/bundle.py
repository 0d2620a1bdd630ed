"""The bundle: the folder that leaves for a device. Imports no torch.

model.onnx          alone enough to run: labels and all settings are in its metadata
model.rtx.engine    TensorRT for RTX engine, where --trt was asked for (model.trt.engine: classic)
bundle.json         SHA-256 of every file, versions, the check's result, scores
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fdan_edge.errors import BundleError, one_line
from fdan_edge.files import sha256, write_json
from fdan_edge.spec import check_schema

MANIFEST = "bundle.json"
MODEL = "model.onnx"
SCHEMA = 1


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write bundle.json over the files that `folder` holds now."""
    files = {
        path.name: {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"schema": SCHEMA, **content, "files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of bundle.json.

    Raises:
        BundleError: missing, damaged, or of a later version of this project.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder}: not a bundle (no {MANIFEST}); `fdan-edge export RUN --onnx --out {folder}` makes one"
        )
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        check_schema(values["schema"], SCHEMA, str(path))
        {name: entry["sha256"] for name, entry in values["files"].items()}
    except KeyError as error:
        raise BundleError(f"{path}: damaged: no {error}") from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path}: damaged: {one_line(error)}") from None
    return values


def model_path(target: Path) -> Path:
    """The ONNX file that a bundle folder or a path names, its hash checked where a manifest is.

    Raises:
        BundleError: nothing there, not a bundle, or the file is not the one that was exported.
    """
    if not target.exists():
        raise BundleError(
            f"{target}: no such bundle or file; `fdan-edge export RUN --onnx --out {target}` makes one"
        )
    if target.is_file():
        return target
    return checked_file(target, MODEL)


def checked_file(folder: Path, name: str) -> Path:
    """A bundle's file after a comparison of its hash with the manifest.

    Raises:
        BundleError: not in the manifest, missing, or changed since the export.
    """
    files = read_manifest(folder)["files"]
    if name not in files:
        raise BundleError(f"{folder}: {name} is not in its {MANIFEST}; it holds {', '.join(files)}")
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path}: missing from the bundle")
    if sha256(path) != files[name]["sha256"]:
        raise BundleError(f"{path}: changed or cut short since its export (its SHA-256 is not that of {MANIFEST})")
    return path


def _check_replaceable(target: Path) -> None:
    """Raise BundleError where a bundle put in the place of `target` could lose something."""
    if os.path.realpath(target) == os.path.realpath("."):
        raise BundleError(f"{target}: is the current folder, which cannot be replaced; name another --out")
    if not target.exists():
        return
    if target.is_file() or (not (target / MANIFEST).is_file() and any(target.iterdir())):
        raise BundleError(f"{target}: exists and is not a bundle; name another --out")
    names = {path.name for path in target.iterdir()}
    foreign = sorted(names - {MANIFEST, *read_manifest(target)["files"]}) if names else []
    if foreign:
        raise BundleError(
            f"{target}: holds files that are not the bundle's: {', '.join(foreign)}; move them first"
        )


@contextlib.contextmanager
def new_bundle(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block succeeds; an earlier bundle is kept till then.

    Raises:
        BundleError: `target` exists and holds what is no bundle's, so replacing it could lose something;
            it is the current folder, which must stay; or it would lie below a file.
    """
    _check_replaceable(target)
    target = Path(os.path.realpath(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BundleError(f"{target}: cannot be made: {target.parent} is not a folder") from None
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    old = temporary.with_name(temporary.name + "-old")
    try:
        temporary.chmod(0o755)
        yield temporary
        if target.exists():
            target.rename(old)
        temporary.rename(target)
    finally:
        if old.exists() and not target.exists():  # the second rename failed
            old.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
