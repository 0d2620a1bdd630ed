"""Tell which words of a command line are the model, and which are recordings: the model may be left out.

The first word is the model where it is a bundle, a run folder, an .onnx file, or a name of `fdan-edge models`.
Where it is sound, or a folder with sound in it, it is a recording, and the default model is used. What is neither
is taken for a model: a name with a mistake in it must not be answered by another model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fdan_edge.errors import BundleError, ConfigError

#: How the words of `infer` begin, for messages.
_INFER = "fdan-edge infer [BUNDLE] FILE..."
_MODEL_FILES = (".onnx", ".engine")
_STANDARD_INPUT = "-"


def model_and_recordings(words: Sequence[str], model: str | None) -> tuple[Path, list[Path]]:
    """Divide the words of `infer` into the model and recordings.

    Args:
        words: as they were given, at least one.
        model: what --model names: then all words are recordings.

    Raises:
        ConfigError: there is no recording, or the first word may be a model and a recording.
        BundleError: the first word is neither.
    """
    from fdan_edge.runtime.included import locate

    paths = [Path(word) for word in words]
    if model is not None:
        return locate(model), paths
    if not _is_model(words[0], alone=len(words) == 1):
        return locate(), paths
    if len(words) == 1:
        raise ConfigError(f"{words[0]} is a model, and no recording is given: {_INFER}")
    return locate(words[0]), paths[1:]


def model_and_source(words: Sequence[str], model: str | None, *, live: bool) -> tuple[Path, str | None]:
    """Divide the words of `stream` into the model and the source of the sound, None where there is no such word.

    Args:
        words: as they were given, at most two.
        model: what --model names: then a word is the source.
        live: whether the source is the microphone.

    Raises:
        ConfigError, BundleError: as of `model_and_recordings`; or there are too many words.
    """
    from fdan_edge.runtime.included import locate

    if model is not None:
        if len(words) > 1:
            raise ConfigError(f"{words[0]}: --model {model} names the model already; give one source")
        return locate(model), next(iter(words), None)
    if not words:
        return locate(), None
    if not _is_model(words[0], alone=len(words) == 1 and not live):
        if len(words) > 1:
            raise ConfigError(f"{words[0]} is sound and no model; stream follows one source, not {len(words)}")
        return locate(), words[0]
    return locate(words[0]), words[1] if len(words) > 1 else None


def one_model(word: str | None, model: str | None) -> Path:
    """Give the model of a verb that takes no recordings.

    Raises:
        ConfigError: there are two.
        BundleError: as of `fdan_edge.runtime.included.locate`.
    """
    from fdan_edge.runtime.included import locate

    if word is not None and model is not None:
        raise ConfigError(f"{word}: --model {model} names the model already; give one of them")
    if word is not None:
        _is_model(word, alone=False)  # refuses a name that is a path as well
    return locate(model if word is None else word)


def model_path(word: str) -> Path:
    """Give the path of a word that can be nothing but a model: a path, or a name of `fdan-edge models`."""
    from fdan_edge.runtime.included import locate

    return locate(word)


def _is_model(word: str, *, alone: bool) -> bool:
    """Tell whether a word is the model.

    Args:
        word: the first one.
        alone: whether it is the only one, and there must be sound: what is neither is taken for a recording then.

    Raises:
        ConfigError: it is the name of a model, and a path as well.
        BundleError: it is a folder with neither a model nor sound in it, or `alone` and not there.
    """
    from fdan_edge.runtime.included import names

    path = Path(word)
    if word in names():
        if os.path.lexists(word):
            raise ConfigError(f"{word} is a model here and a path: write ./{word}, or --model {word}")
        return True
    if path.is_dir():
        return _holds_model(word, path)
    if word == _STANDARD_INPUT or path.suffix in _MODEL_FILES:
        return word != _STANDARD_INPUT
    if not os.path.lexists(path):
        return _is_missing_model(word, path, alone=alone)
    return not (alone or _is_sound(path))


def _holds_model(word: str, folder: Path) -> bool:
    """Tell whether a folder is a model, or a part of one, and no recordings."""
    from fdan_edge.audio.listing import find
    from fdan_edge.runtime.bundle import MANIFEST, is_bundle

    if is_bundle(folder) or (folder / "run.toml").is_file() or any(folder.glob("*.onnx")):
        return True
    listing = find([folder])
    if listing.files == [folder]:
        raise BundleError(
            f"{word}: not a bundle (no {MANIFEST}), and no recording in this folder; "
            f"`fdan-edge export RUN --out {word}` makes a bundle"
        )
    return False


def _is_missing_model(word: str, path: Path, *, alone: bool) -> bool:
    """Tell whether what is not there would be a model: all that is not named as sound."""
    from fdan_edge.audio.kinds import SOUNDS, VIDEOS

    if path.suffix.lower() in (*SOUNDS, *VIDEOS):
        return False
    if alone:
        raise BundleError(f"{word}: no such recording, folder or bundle; `fdan-edge models` lists models by name")
    return True


def _is_sound(path: Path) -> bool:
    """Tell whether a file is named as sound, or is such; what is no file, as a pipe, can be nothing else."""
    from fdan_edge.audio.kinds import SOUNDS, VIDEOS, kind_of

    if path.suffix.lower() in (*SOUNDS, *VIDEOS) or not path.is_file():
        return True
    kind = kind_of(path)
    return kind is not None and bool(kind.reader)
