"""What must travel with a model so that one file is enough to run it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from fdan_edge.errors import BundleError, one_line

METADATA_KEY = "fdan_edge"
SCHEMA = 1
MAX_TRIM_DB = 200


@dataclass(frozen=True)
class ModelSpec:
    """How to feed a model and read its answer, and what is known about it."""

    labels: tuple[str, ...]
    sample_rate: int  # Hz
    window: int  # samples that the model hears at once
    window_hop: int  # samples between the windows of a longer recording
    trim_db: float  # quiet ends are cut this far below the loudest frame; 0: kept
    info: dict[str, Any] = field(default_factory=dict)  # protocol, scores, versions, licence note

    def to_json(self) -> str:
        """One line of JSON, as stored in the ONNX metadata."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None, where: str) -> ModelSpec:
        """Read what `to_json` wrote.

        Raises:
            BundleError: not metadata of this project, or of a later version of it.
        """
        if not text:
            raise BundleError(f"{where}: carries no fdan-edge metadata; was it made by `fdan-edge export`?")
        try:
            values = dict(json.loads(text))
            check_schema(values.get("schema"), SCHEMA, where)
            known = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}
            return _checked(cls(**known | {"labels": tuple(values["labels"])}))
        except KeyError as error:
            raise BundleError(f"{where}: its fdan-edge metadata is damaged: no {error}") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise BundleError(f"{where}: its fdan-edge metadata is damaged: {one_line(error)}") from None


def check_schema(schema: Any, newest: int, where: str) -> None:
    """Accept what this version and earlier ones wrote.

    Raises:
        BundleError: written by a later version.
        ValueError: not a schema number.
    """
    if type(schema) is not int or schema < 1:
        raise ValueError(f"schema {schema!r} is not a version number")
    if schema > newest:
        raise BundleError(f"{where}: made by a later fdan-edge (schema {schema} > {newest}); update this one")


def _checked(spec: ModelSpec) -> ModelSpec:
    """The spec, or ValueError with the name of the entry that cannot be right."""
    if not spec.labels or not all(isinstance(name, str) and name and name.isprintable() for name in spec.labels):
        raise ValueError(f"labels {list(spec.labels)} are not names")
    if len(set(spec.labels)) < len(spec.labels):
        raise ValueError(f"labels {list(spec.labels)} name a class twice")
    for name in ("sample_rate", "window", "window_hop"):
        value = getattr(spec, name)
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} {value!r} is not a positive whole number")
    if type(spec.trim_db) not in (int, float) or not 0 <= spec.trim_db <= MAX_TRIM_DB:
        raise ValueError(f"trim_db {spec.trim_db!r} is not a number from 0 to {MAX_TRIM_DB}")
    if not isinstance(spec.info, dict):
        raise ValueError("info is not a table")
    return spec
