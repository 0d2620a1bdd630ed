"""The bundle: the folder that leaves for a device. Imports no torch.

model.onnx              alone enough to run: labels and all settings are in its metadata
model.int8-u8s8.onnx    further artifacts: the same model in other precisions
model.stream.onnx       the same from the mel power on, where only new frames are computed: for live streams
model.rtx.engine        TensorRT engines of these artifacts
README.md               the model card
bundle.json             SHA-256 of every file, versions, the gate's report and calibration of each artifact
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fdan_edge.errors import BundleError, one_line, printable
from fdan_edge.runtime.manifest import STREAM_SUFFIX, Artifact, EngineFile, artifacts, check, engines, spec_digest
from fdan_edge.utils.files import atomic_folder, sha256, write_json

__all__ = ["MANIFEST", "MODEL", "SCHEMA", "STREAM_SUFFIX", "Artifact", "EngineFile", "artifacts", "engines"]

MANIFEST = "bundle.json"
MODEL = "model.onnx"
SCHEMA = 2


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write bundle.json over the files that `folder` holds now.

    Args:
        folder: of the new bundle.
        content: all entries but `schema`, `spec_sha256` and `files`; `artifacts` and `engines` as their `to_dict`
            gives them.

    Raises:
        BundleError: the content does not fit the files; `read_manifest` would refuse it.
    """
    files = {
        path.name: {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    digest = {"spec_sha256": spec_digest(content["spec"])} if "spec" in content else {}
    values = {"schema": SCHEMA, **content, **digest, "files": files}
    _check(values, folder / MANIFEST)
    write_json(folder / MANIFEST, values)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of bundle.json, of this schema or an earlier one.

    Raises:
        BundleError: missing, damaged, of a later version of this project, its spec was changed, an artifact did
            not pass its gate, or it names files outside the bundle, or an engine of another ONNX file.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder}: not a bundle (no {MANIFEST}); `fdan-edge export RUN --out {folder}` makes one"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: damaged: {one_line(error)}") from None
    _check(values, path)
    return values  # type: ignore[no-any-return]


def _check(values: Any, path: Path) -> None:
    try:
        check(values, SCHEMA, str(path))
    except KeyError as error:
        raise BundleError(f"{path}: damaged: no {error}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path}: damaged: {printable(one_line(error))}") from None


def find_artifacts(folder: Path, manifest: dict[str, Any], name: str) -> list[Artifact]:
    """The artifact of a file name, or all of a precision: int8 has a format for CPUs and one for TensorRT.

    Raises:
        BundleError: there is none.
    """
    found = artifacts(manifest)
    fitting = [a for a in found if a.file == name] or [a for a in found if a.precision == name]
    if not fitting:
        held = ", ".join(f"{a.precision} ({a.file})" for a in found)
        raise BundleError(f"{folder}: no artifact {name!r}; it holds {held}")
    return fitting


def model_path(target: Path) -> Path:
    """The ONNX file that a bundle folder or a path names, its hash checked where a manifest is.

    Raises:
        BundleError: nothing there, not a bundle, or the file is not the one that was exported.
    """
    if not target.exists():
        raise BundleError(f"{target}: no such bundle or file; `fdan-edge export RUN --out {target}` makes one")
    if target.is_file():
        return target
    return checked_file(target, artifacts(read_manifest(target))[0].file)


def checked_file(folder: Path, name: str) -> Path:
    """A bundle's file after a comparison of its hash with the manifest.

    Raises:
        BundleError: not in the manifest, a link, missing, cut short, or changed since the export.
    """
    path, entry = _listed(folder, name)
    _compare(path, entry, sha256(path))
    return path


def checked_bytes(folder: Path, name: str) -> bytes:
    """What a bundle's file holds, after the same comparison: what is used is what was compared.

    Raises:
        BundleError: as of `checked_file`.
    """
    path, entry = _listed(folder, name)
    content = path.read_bytes()
    _compare(path, entry, hashlib.sha256(content).hexdigest())
    return content


def _listed(folder: Path, name: str) -> tuple[Path, dict[str, Any]]:
    files = read_manifest(folder)["files"]
    if name not in files:
        raise BundleError(f"{folder}: {name} is not in its {MANIFEST}; it holds {', '.join(files)}")
    path = folder / name
    if path.is_symlink():
        raise BundleError(f"{path}: is a link; a bundle's files are its own")
    if not path.is_file():
        raise BundleError(f"{path}: missing from the bundle")
    return path, files[name]


def _compare(path: Path, entry: dict[str, Any], digest: str) -> None:
    if digest == entry["sha256"]:
        return
    size, whole = path.stat().st_size, entry.get("bytes")
    if whole is not None and size < whole:
        raise BundleError(f"{path}: cut short: {size} of {whole} bytes; copy the bundle again")
    raise BundleError(
        f"{path}: changed since its export (its SHA-256 is not that of {MANIFEST}); "
        "copy the bundle again, or export it anew"
    )


def check_out(target: Path) -> None:
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
    check_out(target)
    target = Path(os.path.realpath(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BundleError(f"{target}: cannot be made: {target.parent} is not a folder") from None
    with atomic_folder(target) as temporary:
        yield temporary
