"""fdan-edge: from face-guided training (FDAN) to a small voice model on the edge.

    import fdan_edge

    with fdan_edge.load("bundle") as recognizer:
        print(recognizer.recognize_file("recording.wav").emotion)

recognize        load, Recognizer, Recognition, Stream, StreamSettings, events
train            Config, train, evaluate, evaluate_robustness
export           export_bundle, Bundle
extend           Corpus, register_corpus, Backbone, register_backbone
errors           FdanEdgeError and what derives from it

Names are imported when they are first used, so `import fdan_edge` is fast, and recognizing needs no PyTorch.
Messages go through `logging.getLogger("fdan_edge")`; none is shown unless the program asks for them.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from fdan_edge._version import __version__
from fdan_edge.errors import (
    AudioError,
    BundleError,
    CheckpointError,
    ConfigError,
    DataError,
    ExportError,
    FdanEdgeError,
    LabelError,
    MissingDependencyError,
    TrainingError,
)

if TYPE_CHECKING:
    from fdan_edge.config import Backbone, Config, register_backbone
    from fdan_edge.data.corpora import Corpus, register_corpus
    from fdan_edge.evaluation.score_model import evaluate, evaluate_robustness
    from fdan_edge.export.pipeline import export_bundle
    from fdan_edge.recognizer import Recognizer, load
    from fdan_edge.runtime.bundle import Bundle
    from fdan_edge.runtime.recognition import Recognition
    from fdan_edge.streaming import events
    from fdan_edge.streaming.session import Stream
    from fdan_edge.streaming.settings import StreamSettings
    from fdan_edge.training.run import train

__all__ = [
    "AudioError",
    "Backbone",
    "Bundle",
    "BundleError",
    "CheckpointError",
    "Config",
    "ConfigError",
    "Corpus",
    "DataError",
    "ExportError",
    "FdanEdgeError",
    "LabelError",
    "MissingDependencyError",
    "Recognition",
    "Recognizer",
    "Stream",
    "StreamSettings",
    "TrainingError",
    "__version__",
    "evaluate",
    "evaluate_robustness",
    "events",
    "export_bundle",
    "load",
    "register_backbone",
    "register_corpus",
    "train",
]

#: The module of each name that is imported when it is first used (PEP 562).
_MODULES = {
    "Backbone": "fdan_edge.config",
    "Bundle": "fdan_edge.runtime.bundle",
    "Config": "fdan_edge.config",
    "Corpus": "fdan_edge.data.corpora",
    "Recognition": "fdan_edge.runtime.recognition",
    "Recognizer": "fdan_edge.recognizer",
    "Stream": "fdan_edge.streaming.session",
    "StreamSettings": "fdan_edge.streaming.settings",
    "evaluate": "fdan_edge.evaluation.score_model",
    "evaluate_robustness": "fdan_edge.evaluation.score_model",
    "events": "fdan_edge.streaming",
    "export_bundle": "fdan_edge.export.pipeline",
    "load": "fdan_edge.recognizer",
    "register_backbone": "fdan_edge.config",
    "register_corpus": "fdan_edge.data.corpora",
    "train": "fdan_edge.training.run",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())
# Here, before any module of this package can import ONNX Runtime; it is no name of the package's.
importlib.import_module("fdan_edge.utils.telemetry").turn_off()


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    if name == "events":  # a module itself
        return importlib.import_module(f"{module}.{name}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    """List the public names, those that are not imported yet included."""
    return sorted({*globals(), *__all__})
