"""The bundle: the folder that leaves for a device. Imports no torch.

model.onnx              alone enough to run: labels and all settings are in its metadata
model.int8-u8s8.onnx    further artifacts: the same model in other precisions
model.stream.onnx       the same from the mel power on, where only new frames are computed: for live streams
model.rtx.engine        TensorRT engines of these artifacts
README.md               the model card
bundle.json             what these files are, and the SHA-256 of each: `fdan_edge.runtime.manifest`
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import Self

from fdan_edge.errors import BundleError, one_line
from fdan_edge.runtime import manifest as schema
from fdan_edge.runtime.manifest import Artifact, EngineFile, FileEntry, Manifest
from fdan_edge.runtime.onnx_check import MOST_BYTES
from fdan_edge.utils.atomic_folder import BUSY, atomic_folder
from fdan_edge.utils.files import sha256, write_bytes
from fdan_edge.utils.small_files import read_at_most

MANIFEST = "bundle.json"
MODEL = "model.onnx"


@dataclass(frozen=True)
class Bundle:
    """A bundle folder and its manifest, which was read and checked once.

    bundle = Bundle.open("bundle")
    print(bundle.manifest.spec.labels)
    bundle.verify()
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read and check the manifest of a bundle; its files are checked when they are asked for.

        Args:
            path: the bundle's folder.

        Raises:
            BundleError: there is no such folder, it is not a bundle, or its bundle.json is damaged, changed, or of
                another schema.
        """
        folder = Path(path)
        file = folder / MANIFEST
        if not folder.exists():
            raise BundleError(
                f"{folder}: no such bundle or file; `fdan-edge export RUN --out {folder}` makes one, and "
                "`fdan-edge models` lists models by name"
            )
        if not file.is_file():
            raise BundleError(
                f"{folder}: not a bundle (no {MANIFEST}); `fdan-edge export RUN --out {folder}` makes one"
            )
        try:
            content = read_at_most(file)
        except (OSError, ValueError) as error:
            raise BundleError(f"{file}: damaged: {one_line(error)}") from None
        return cls(folder, schema.read(content, str(file)))

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The ONNX files, the primary one first."""
        return self.manifest.artifacts

    @property
    def engines(self) -> tuple[EngineFile, ...]:
        """The TensorRT engines."""
        return self.manifest.engines

    def find_artifacts(self, name: str) -> tuple[Artifact, ...]:
        """Give the artifact of a file name, or all of a precision.

        Of int8 there may be two: a format for CPUs and one for TensorRT.

        Raises:
            BundleError: there is none.
        """
        by_file = tuple(artifact for artifact in self.artifacts if artifact.file == name)
        fitting = by_file or tuple(artifact for artifact in self.artifacts if artifact.precision == name)
        if not fitting:
            names = ", ".join(f"{artifact.precision} ({artifact.file})" for artifact in self.artifacts)
            raise BundleError(f"{self.path}: no artifact {name!r}; it holds {names}")
        return fitting

    def file(self, name: str) -> Path:
        """Give the path of a file after a comparison of its hash with the manifest.

        Raises:
            BundleError: not in the manifest, a link, missing, cut short, or changed since the export.
        """
        path, entry = self._listed(name)
        _compare(path, entry, sha256(path))
        return path

    def read(self, name: str) -> bytes:
        """Give what a file holds, after the same comparison: what is used is what was compared.

        Raises:
            BundleError: as of `file`.
        """
        path, entry = self._listed(name)
        try:
            content = read_at_most(path, MOST_BYTES)
        except ValueError as error:  # it has grown
            raise BundleError(f"{path}: {one_line(error)}") from None
        _compare(path, entry, hashlib.sha256(content).hexdigest())
        return content

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            BundleError: as of `file`, for the first file that is not as it was exported.
        """
        for name in self.manifest.files:
            self.file(name)

    def _listed(self, name: str) -> tuple[Path, FileEntry]:
        files = self.manifest.files
        if name not in files:
            raise BundleError(f"{self.path}: {name} is not in its {MANIFEST}; it holds {', '.join(files)}")
        path = self.path / name
        if path.is_symlink():
            raise BundleError(f"{path}: is a link; a bundle's files are its own")
        if not path.is_file():
            raise BundleError(f"{path}: missing from the bundle")
        size = path.stat().st_size
        if size < files[name].bytes:
            raise BundleError(f"{path}: cut short: {size} of {files[name].bytes} bytes; copy the bundle again")
        if size != files[name].bytes:
            raise _changed(path)
        if size > MOST_BYTES:  # nothing of it is read
            raise BundleError(f"{path}: is larger than {MOST_BYTES >> 20} MB")
        return path, files[name]


def _compare(path: Path, entry: FileEntry, digest: str) -> None:
    if digest != entry.sha256:
        raise _changed(path)


def _changed(path: Path) -> BundleError:
    return BundleError(
        f"{path}: changed since its export (its SHA-256 is not that of {MANIFEST}); "
        "copy the bundle again, or export it anew"
    )


def is_bundle(path: Path) -> bool:
    """Tell whether a path is a folder with a manifest, which may be damaged."""
    return (path / MANIFEST).is_file()


def write_manifest(folder: Path, manifest: Manifest) -> Bundle:
    """Write bundle.json over the files that `folder` holds now.

    Args:
        folder: of the new bundle.
        manifest: its `files` are replaced.

    Raises:
        BundleError: the manifest does not fit the files; `Bundle.open` would refuse it.
    """
    files = {
        path.name: FileEntry(sha256(path), path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    whole = replace(manifest, files=files)
    write_bytes(folder / MANIFEST, schema.write(whole, str(folder / MANIFEST)))
    return Bundle(folder, whole)


def check_out(target: Path) -> None:
    """Refuse a place where a new bundle could replace something that is not a bundle's.

    Raises:
        BundleError: as of `new_bundle`.
    """
    if os.path.realpath(target) == os.path.realpath("."):
        raise BundleError(f"{target}: is the current folder, which cannot be replaced; name another --out")
    if not target.exists():
        return
    if target.is_file() or (not is_bundle(target) and any(target.iterdir())):
        raise BundleError(f"{target}: exists and is not a bundle; name another --out")
    names = {path.name for path in target.iterdir()}
    foreign = sorted(names - {MANIFEST, *Bundle.open(target).manifest.files}) if names else []
    if foreign:
        raise BundleError(
            f"{target}: holds files that are not the bundle's: {', '.join(foreign)}; move them first"
        )


@contextlib.contextmanager
def new_bundle(target: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` when the block succeeds; an earlier bundle is kept till then.

    Raises:
        BundleError: `target` exists and holds what is no bundle's, so replacing it could lose something;
            it is the current folder, which must stay; it would lie below a file; or another process writes it.
    """
    check_out(target)
    target = Path(os.path.realpath(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BundleError(f"{target}: cannot be made: {target.parent} is not a folder") from None
    with contextlib.ExitStack() as stack:
        try:
            temporary = stack.enter_context(atomic_folder(target))
        except BlockingIOError:
            raise BundleError(f"{target}: {BUSY}; wait, or name another --out") from None
        check_out(target)  # an earlier bundle that an interrupted export had moved aside is back
        yield temporary
