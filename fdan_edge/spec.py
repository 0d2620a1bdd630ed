"""What must travel with a model so that one file is enough to run it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from fdan_edge.errors import BundleError

METADATA_KEY = "fdan_edge"
SCHEMA = 1


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
            values = json.loads(text)
            schema = int(values.pop("schema"))
            if schema > SCHEMA:
                raise BundleError(
                    f"{where}: made by a later fdan-edge (schema {schema} > {SCHEMA}); update this one"
                )
            values["labels"] = tuple(values["labels"])
            known = {f.name for f in dataclasses.fields(cls)}
            return cls(**{k: v for k, v in values.items() if k in known})
        except (ValueError, TypeError, KeyError) as error:
            raise BundleError(f"{where}: its fdan-edge metadata is damaged: {error}") from None
