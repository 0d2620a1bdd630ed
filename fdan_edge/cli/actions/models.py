"""Carry out `fdan-edge models`: read what the bundles of the package say of themselves, and time them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fdan_edge.profiling.bench import Plan, bench
from fdan_edge.profiling.bench import chosen as runnable
from fdan_edge.runtime import included
from fdan_edge.runtime.about import About, Speed, read_about
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.manifest import Manifest
from fdan_edge.utils.machine import machine_info, machine_line

CARD = "README.md"
_PLAN = Plan(runs=20, threads=1, starts=0)


@dataclass(frozen=True)
class Row:
    """A model of the package."""

    name: str
    path: Path
    manifest: Manifest
    about: About | None  # None: it says nothing about itself
    measured: Speed | None  # here and now, where that was asked for

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(entry.bytes for entry in self.manifest.files.values())

    @property
    def precision(self) -> str:
        """That of the file that runs."""
        return self.manifest.artifacts[0].precision

    @property
    def window_seconds(self) -> float:
        """What a call hears."""
        return self.manifest.spec.window / self.manifest.spec.sample_rate

    @property
    def new_speakers(self) -> dict[str, Any]:
        """Scores on speakers of its corpora that were not trained on."""
        scores: dict[str, Any] = self.manifest.spec.info.get("test_scores", {})
        return scores

    @property
    def speeds(self) -> list[Speed]:
        """How long a window takes: measured here, where that was asked for, else as the model says."""
        return [self.measured] if self.measured else list(self.about.speed) if self.about else []

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "name": self.name,
            "default": self.name == included.DEFAULT,
            "path": str(self.path),
            "bytes": self.bytes,
            "precision": self.precision,
            "window_seconds": self.window_seconds,
            "classes": list(self.manifest.spec.labels),
            "new_speakers": self.new_speakers,
            "about": asdict(self.about) if self.about else None,
            "measured": asdict(self.measured) if self.measured else None,
        }


def chosen(name: str | None) -> list[str]:
    """List the names to show: all, or the one that was named.

    Raises:
        BundleError: there is none of that name, or none at all.
    """
    included.find(name or included.DEFAULT)
    return [name] if name else included.names()


def row(name: str, *, measure: bool) -> Row:
    """Read what a model says of itself, and time it where that is asked for.

    Raises:
        BundleError: it is damaged, or does not run here.
    """
    bundle = Bundle.open(included.find(name))
    measured = _measured(name, bundle.path) if measure else None
    return Row(name, bundle.path, bundle.manifest, read_about(bundle), measured)


def card(name: str) -> str:
    """Read the card of a model.

    Raises:
        BundleError: it is missing or was changed.
    """
    return Bundle.open(included.find(name)).read(CARD).decode(errors="replace")


def _measured(name: str, path: Path) -> Speed:
    variant = runnable(str(path))[0]
    here = machine_line(machine_info())
    with variant.open(_PLAN.threads) as runner:
        (timed,) = bench([(variant, runner)], _PLAN)
    command = f"fdan-edge bench {name} --threads {_PLAN.threads}"
    return Speed(timed.row.p50, _PLAN.threads, variant.runtime, here, command)
