"""What must travel with a model so that one file is enough to run it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from fdan_edge.errors import BundleError, one_line, shown
from fdan_edge.utils.small_files import parse_json

METADATA_KEY = "fdan_edge"
SCHEMA = 2  # 2: high_pass
MAX_TRIM_DB = 200
HIGH_PASS = (10, 400)  # Hz; a filter below would remember more than two seconds
MAX_SAMPLE_RATE = 768_000
MAX_WINDOW_SECONDS = 60
MAX_LABELS, MAX_LABEL_LENGTH = 1000, 100


@dataclass(frozen=True)
class ModelSpec:
    """How to feed a model and read its answer, and what is known about it."""

    labels: tuple[str, ...]
    sample_rate: int  # Hz
    window: int  # samples that the model hears at once
    window_hop: int  # samples between the windows of a longer recording
    trim_db: float  # quiet ends are cut this far below the loudest frame; 0: kept
    info: dict[str, Any] = field(default_factory=dict)  # protocol, scores, versions, licence note
    high_pass: float = 0.0  # Hz below which sound is stopped before anything else; 0, as in schema 1: nothing is

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, with the schema number."""
        return {"schema": SCHEMA, **dataclasses.asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """Read what `to_dict` wrote; entries that later versions added are passed over.

        Raises:
            ValueError: an entry is missing, or cannot be right.
        """
        _check_schema(values.get("schema"))
        try:
            known = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}
            return _checked(cls(**known | {"labels": tuple(values["labels"])}))
        except KeyError as error:
            raise ValueError(f"no {error}") from None
        except TypeError as error:
            raise ValueError(one_line(error)) from None

    def to_json(self) -> str:
        """Give one line of JSON, as stored in the ONNX metadata."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None, where: str) -> ModelSpec:
        """Read what `to_json` wrote.

        Args:
            text: the metadata entry; None where there is none.
            where: the file, for messages.

        Raises:
            BundleError: not metadata of this project, or of a later version of it.
        """
        if not text:
            raise BundleError(f"{where}: carries no fdan-edge metadata; was it made by `fdan-edge export`?")
        try:
            values = dict(parse_json(text))
            schema = values.get("schema")
            if type(schema) is int and schema > SCHEMA:
                raise BundleError(
                    f"{where}: made by a later fdan-edge (schema {schema} > {SCHEMA}); update this one"
                )
            return cls.from_dict(values)
        except (ValueError, TypeError) as error:
            raise BundleError(f"{where}: its fdan-edge metadata is damaged: {one_line(error)}") from None


def _check_schema(schema: Any) -> None:
    if type(schema) is not int or schema < 1:
        raise ValueError(f"schema {schema!r} is not a version number")
    if schema > SCHEMA:
        raise ValueError(f"schema {schema} is of a later fdan-edge; update this one")


def _checked(spec: ModelSpec) -> ModelSpec:
    """Give the spec, or raise ValueError with the name of the entry that cannot be right."""
    labels = list(spec.labels)
    if not labels or not all(isinstance(name, str) and name and name.isprintable() for name in labels):
        raise ValueError(f"labels {shown(labels)} are not names")
    if len(labels) > MAX_LABELS or max(map(len, labels)) > MAX_LABEL_LENGTH:
        raise ValueError(f"labels: more than {MAX_LABELS}, or one of more than {MAX_LABEL_LENGTH} characters")
    if len(set(labels)) < len(labels):
        raise ValueError(f"labels {shown(labels)} name a class twice")
    for name in ("sample_rate", "window", "window_hop"):
        value = getattr(spec, name)
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} {shown(value)} is not a positive whole number")
    if type(spec.trim_db) not in (int, float) or not 0 <= spec.trim_db <= MAX_TRIM_DB:
        raise ValueError(f"trim_db {spec.trim_db!r} is not a number from 0 to {MAX_TRIM_DB}")
    if spec.sample_rate > MAX_SAMPLE_RATE:
        raise ValueError(f"sample_rate {spec.sample_rate} is above {MAX_SAMPLE_RATE}")
    if spec.window > MAX_WINDOW_SECONDS * spec.sample_rate:
        raise ValueError(f"window {spec.window} is longer than {MAX_WINDOW_SECONDS} s")
    if spec.window_hop > spec.window:
        raise ValueError(f"window_hop {spec.window_hop} leaves gaps between windows of {spec.window} samples")
    low, high = HIGH_PASS[0], min(HIGH_PASS[1], spec.sample_rate / 4)
    if type(spec.high_pass) not in (int, float) or not (spec.high_pass == 0 or low <= spec.high_pass <= high):
        raise ValueError(f"high_pass {spec.high_pass!r} is neither 0 nor a number from {low} to {high:g}")
    if not isinstance(spec.info, dict):
        raise ValueError("info is not a table")
    return spec
