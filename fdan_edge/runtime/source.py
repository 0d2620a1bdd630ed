"""What there is to run: a bundle, or one .onnx file, which is like a bundle of one artifact. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import Self

from fdan_edge.errors import BundleError
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.manifest import STREAM_SUFFIX, Artifact, EngineFile
from fdan_edge.runtime.onnx_check import read_model


@dataclass(frozen=True)
class Source:
    """A model's files, of which one is chosen to run."""

    path: Path  # the bundle's folder, or the file
    artifacts: tuple[Artifact, ...]
    engines: tuple[EngineFile, ...] = ()
    bundle: Bundle | None = None  # None: one file

    @classmethod
    def open(cls, path: Path) -> Self:
        """Look at a path; of a bundle the manifest is read, and no other file.

        Raises:
            BundleError: there is neither a bundle nor a file, or the bundle is damaged.
        """
        if path.suffix == ".engine":
            raise BundleError(
                f"{path}: an engine runs as a part of its bundle only; name the folder {path.parent}"
            )
        if path.is_file():
            stream = path.name if path.name.endswith(STREAM_SUFFIX) else None
            return cls(path, (Artifact(path.name, "", None, (), 0, stream=stream),))
        bundle = Bundle.open(path)
        return cls(path, bundle.artifacts, bundle.engines, bundle)

    def only(self, name: str) -> Self:
        """Leave the artifacts of a file name or a precision, and their engines.

        Raises:
            BundleError: there is none.
        """
        if self.bundle is None:
            if name not in (self.path.name, ""):
                raise BundleError(f"{self.path}: is one file, so there is no artifact {name!r} to choose")
            return self
        artifacts = self.bundle.find_artifacts(name)
        files = [artifact.file for artifact in artifacts]
        engines = tuple(engine for engine in self.engines if engine.artifact in files)
        return replace(self, artifacts=artifacts, engines=engines)

    def file(self, name: str) -> Path:
        """Give the path of an ONNX file, for messages: what is used is what `read` gives."""
        return self.path / name if self.bundle else self.path

    def read(self, name: str) -> bytes:
        """Read an ONNX file once, its hash compared where there is a manifest.

        Raises:
            BundleError: as of `Bundle.read` and `onnx_check.read_model`.
        """
        return self.bundle.read(name) if self.bundle else read_model(self.path)
