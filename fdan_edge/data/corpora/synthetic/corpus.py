"""A corpus that is computed, so that everything can be tried without any data."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from fdan_edge.data.corpora import Corpus, Item, files_below
from fdan_edge.errors import INSTALL_TRAINING, DataError, MissingDependencyError, unknown_choice
from fdan_edge.utils.files import cache_home

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
SPEAKERS = 12
VOICES_PER_CLASS = 6  # of each speaker
FACES_PER_CLASS = 60
_VERSION = 1  # part of the cache folder's name: raise it when the generators change


def read_speech(root: Path) -> list[Item]:
    """List source-filter voices of 12 speakers in 7 emotions; computed first where they are not there yet."""
    items = []
    for name, path in files_below(_rendered(root) / "speech", (".flac",)):
        speaker, emotion = path.parent.name, _label(path, path.stem.partition("-")[0])
        items.append(Item("synthetic", f"speech/{name}", path, emotion, speaker=speaker))
    return items


def read_faces(root: Path) -> list[Item]:
    """List drawn faces in 7 emotions; they are computed first where they are not there yet."""
    files = files_below(_rendered(root) / "faces", (".png",))
    return [Item("synthetic", f"faces/{name}", path, _label(path, path.parent.name)) for name, path in files]


def cache_folder() -> Path:
    """Return where the corpus lies when no path is given."""
    return cache_home() / f"synthetic-v{_VERSION}"


def _label(path: Path, word: str) -> str:
    """Check the emotion that a file's name gives; DataError where it is none of the corpus's."""
    if word not in CLASSES:
        raise DataError(f"{path}: {unknown_choice('emotion', word, CLASSES)}")
    return word


def _rendered(folder: Path) -> Path:
    """Return the corpus's folder, with the corpus in it."""
    if (folder / "speech").is_dir() and (folder / "faces").is_dir():
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"synthetic:{folder}: the folder holds something else; name an empty or new one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".synthetic-", dir=folder.parent))
    try:
        render_speech(temporary / "speech")
        render_faces(temporary / "faces")
        temporary.chmod(0o755)
        temporary.replace(folder)  # an empty folder gives way
    except ImportError as error:
        package = (error.name or "scipy").partition(".")[0]
        raise MissingDependencyError(package, "making the synthetic corpus", INSTALL_TRAINING) from None
    except OSError:
        if not (folder / "faces").is_dir():  # else another process wrote it meanwhile
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def render_speech(folder: Path) -> None:
    """Write all voices into a new folder, as SPEAKER/EMOTION-NN.flac."""
    import soundfile

    from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice

    for speaker in range(SPEAKERS):
        (folder / f"s{speaker:02}").mkdir(parents=True)
        for emotion in CLASSES:
            for index in range(VOICES_PER_CLASS):
                path = folder / f"s{speaker:02}" / f"{emotion}-{index:02}.flac"
                soundfile.write(path, voice(emotion, speaker, index), SAMPLE_RATE)


def render_faces(folder: Path) -> None:
    """Write all faces into a new folder, as EMOTION/NNN.png."""
    from fdan_edge.data.corpora.synthetic.faces import face

    for emotion in CLASSES:
        (folder / emotion).mkdir(parents=True)
        for index in range(FACES_PER_CLASS):
            face(emotion, index).save(folder / emotion / f"{index:03}.png")


CORPUS = Corpus(
    name="synthetic",
    title="computed voices and faces",
    licence="made by fdan-edge",
    layout="nothing: the corpus is made where the path points, or in the cache folder",
    origin="here",
    speakers=str(SPEAKERS),
    emotions={name: name for name in CLASSES},
    read_speech=read_speech,
    read_faces=read_faces,
    default_folder=cache_folder,
)
