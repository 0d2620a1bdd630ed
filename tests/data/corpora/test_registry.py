"""Readers of the corpora, on small trees in the publishers' layouts and on the real ones."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from fdan_edge.data.corpora import Item, Source, parse_source, read, unique
from fdan_edge.data.corpora.synthetic import corpus as synthetic
from fdan_edge.data.corpora.synthetic.corpus import CLASSES
from fdan_edge.errors import DataError, MissingDependencyError
from tests.conftest import SHARED

CODES = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_ravdess(ravdess_tree: Path) -> None:
    items = read(Source("ravdess", ravdess_tree), "speech")
    assert len(items) == 32
    assert Counter(item.emotion for item in items)["calm"] == 4
    first = items[0]
    assert first.id == "Actor_01/03-01-01-01-01-01-01.wav"
    assert first.key == "ravdess:Actor_01/03-01-01-01-01-01-01.wav"
    assert (first.emotion, first.speaker, first.text) == ("neutral", "01", "01")
    assert first.speaker_key == "ravdess:01"
    assert first.path.is_file()


@pytest.mark.parametrize(("code", "emotion"), CODES.items())
def test_ravdess_codes(tmp_path: Path, code: str, emotion: str) -> None:
    touch(tmp_path / "Actor_05" / f"03-01-{code}-02-02-01-05.wav")
    (item,) = read(Source("ravdess", tmp_path), "speech")
    assert (item.emotion, item.speaker, item.text) == (emotion, "05", "02")


def test_ravdess_passes_over_what_is_no_speech(tmp_path: Path) -> None:
    good = tmp_path / "Actor_01" / "03-01-03-01-01-01-01.FLAC"
    touch(
        good,
        tmp_path / "Actor_01" / "03-02-03-01-01-01-01.wav",  # song
        tmp_path / "Actor_01" / "01-01-03-01-01-01-01.wav",  # from a video
        tmp_path / "Actor_01" / "03-01-03-01-01-01-01.txt",
        tmp_path / "Actor_01" / "._03-01-04-01-01-01-01.wav",
        tmp_path / "__MACOSX" / "Actor_01" / "03-01-05-01-01-01-01.wav",
        tmp_path / ".cache" / "03-01-06-01-01-01-01.wav",
        tmp_path / "README.md",
    )
    (tmp_path / "Actor_01" / "03-01-07-01-01-01-01.wav").mkdir()  # a folder of that name
    assert [item.path for item in read(Source("ravdess", tmp_path), "speech")] == [good]


@pytest.mark.parametrize("code", ["00", "09", "80"])
def test_ravdess_names_a_file_with_an_unknown_code(ravdess_tree: Path, tmp_path: Path, code: str) -> None:
    shutil.copytree(ravdess_tree / "Actor_01", tmp_path / "Actor_01")
    wrong = tmp_path / "Actor_01" / f"03-01-{code}-01-01-01-01.wav"
    touch(wrong)
    with pytest.raises(DataError) as caught:
        read(Source("ravdess", tmp_path), "speech")
    assert str(caught.value) == f"{wrong}: no emotion has the code {code}; valid: {', '.join(CODES)}"


def test_a_part_of_ravdess_has_the_same_ids(ravdess_tree: Path) -> None:
    """Else a score on one actor's folder would take its recordings for ones unseen in training."""
    whole = {item.key for item in read(Source("ravdess", ravdess_tree), "speech")}
    part = read(Source("ravdess", ravdess_tree / "Actor_02"), "speech")
    assert len(part) == 8
    assert {item.key for item in part} <= whole


def test_copies_of_a_recording_are_used_once(
    ravdess_tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kaggle's RAVDESS holds every file twice, which would leak into a random split."""
    shutil.copytree(ravdess_tree, tmp_path / "r")
    shutil.copytree(ravdess_tree, tmp_path / "r" / "audio_speech_actors_01-24")
    touch(tmp_path / "r" / "Actor_01" / "03-01-01-01-01-01-01.flac")
    items = read(Source("ravdess", tmp_path / "r"), "speech")
    assert len(items) == len({item.key for item in items}) == 32
    assert "33 files are there more than once" in " ".join(capfd.readouterr().err.split())


def test_unique_keeps_items_of_different_corpora() -> None:
    items = [Item(c, "a.wav", Path("a.wav"), "sad") for c in ("y", "x", "y")]
    assert [item.key for item in unique(items, "test")] == ["x:a.wav", "y:a.wav"]


def test_emodb(tmp_path: Path) -> None:
    letters = {"W": "angry", "L": "boredom", "E": "disgust", "A": "fear", "F": "happy", "T": "sad", "N": "neutral"}
    for letter in letters:
        touch(tmp_path / "wav" / f"03a01{letter}a.wav")
    touch(tmp_path / "erklaerung.txt", tmp_path / "wav" / "notes.wav", tmp_path / "labfiles" / "03a01Fa.txt")
    items = read(Source("emodb", tmp_path), "speech")
    assert {item.path.stem[5]: item.emotion for item in items} == letters
    assert {(item.speaker, item.text) for item in items} == {("03", "a01")}
    assert items[0].id == "wav/03a01Aa.wav"
    assert [i.key for i in read(Source("emodb", tmp_path / "wav"), "speech")] == [i.key for i in items]


def test_fer2013(fer_tree: Path) -> None:
    items = read(Source("fer2013", fer_tree), "faces")
    assert Counter(item.emotion for item in items) == dict.fromkeys(CLASSES, 5)
    assert items[0].id == "train/angry/0.png"
    assert items[0].speaker is None
    assert items[0].speaker_key is None


def test_fer2013_names_an_unknown_class(fer_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(fer_tree, tmp_path / "fer")
    touch(tmp_path / "fer" / "train" / "confused" / "1.png")
    with pytest.raises(DataError, match=r"confused/1.png: its folder 'confused' is not an emotion"):
        read(Source("fer2013", tmp_path / "fer"), "faces")


def test_fer2013_with_other_words_and_junk(tmp_path: Path) -> None:
    touch(tmp_path / "test" / "Fearful" / "1.JPG", tmp_path / "test" / "Fearful" / "._1.jpg")
    touch(tmp_path / "test" / "anger" / "1.jpeg", tmp_path / "labels.csv", tmp_path / ".thumbs" / "x.png")
    items = read(Source("fer2013", tmp_path), "faces")
    assert sorted((item.emotion, item.path.name) for item in items) == [("angry", "1.jpeg"), ("fear", "1.JPG")]


@pytest.mark.parametrize(
    ("corpus", "modality"),
    [
        *[(c, "speech") for c in ("savee", "meld", "ravdess", "emodb", "crema", "enterface", "casia", "folder")],
        *[(c, "videos") for c in ("savee", "meld", "ravdess", "crema", "enterface", "folder")],
        *[(c, "faces") for c in ("fer2013", "ck", "folder")],
    ],
)
def test_wrong_folders(corpus: str, modality: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read(Source(corpus, tmp_path / "missing"), modality)
    with pytest.raises(DataError, match=f"{corpus}:.*no {modality} found; expected "):
        read(Source(corpus, tmp_path), modality)
    touch(tmp_path / "file")
    with pytest.raises(DataError, match="file: is not a folder"):
        read(Source(corpus, tmp_path / "file"), modality)


def test_a_corpus_without_the_modality(fer_tree: Path, ravdess_tree: Path) -> None:
    # A new corpus may stand anywhere between these; test_own_corpora registers calls-1 and others in this process.
    own = r"(, calls-\d)*$"
    message = (
        f"fer2013 has no speech; corpora that have: savee, meld, ravdess, .*folder, unlabelled, synthetic{own}"
    )
    with pytest.raises(DataError, match=message):
        read(Source("fer2013", fer_tree), "speech")
    with pytest.raises(
        DataError,
        match=f"ravdess has no faces; corpora that have: savee, .*fer2013, .*folder, synthetic{own}",
    ):
        read(Source("ravdess", ravdess_tree), "faces")


def test_parse_source() -> None:
    assert parse_source("ravdess:/data/R A:V") == Source("ravdess", Path("/data/R A:V"))
    assert parse_source("emodb:~/x").path == Path.home() / "x"
    assert parse_source("synthetic:") == Source("synthetic", None)
    assert str(parse_source("synthetic:")) == "synthetic:"
    assert str(Source("ravdess", Path("/r"))) == "ravdess:/r"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/data/ravdess", "not of the form corpus:path; corpora: savee, meld, ravdess, emodb, crema, "),
        ("ravdes:/x", r"unknown corpus 'ravdes' \(did you mean ravdess\?\); valid: savee, meld, ravdess"),
        ("ravdess:", "names no folder; write ravdess:PATH"),
    ],
)
def test_sources_that_name_nothing(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_source(text)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic corpus with fewer speakers, rendered once."""
    root = tmp_path_factory.mktemp("synthetic") / "made" / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "SPEAKERS", 2)
        patch.setattr(synthetic, "VOICES_PER_CLASS", 1)
        patch.setattr(synthetic, "FACES_PER_CLASS", 2)
        read(Source("synthetic", root), "speech")
    return root


def test_synthetic_is_rendered_where_the_path_points(small: Path) -> None:
    speech, faces = (read(Source("synthetic", small), modality) for modality in ("speech", "faces"))
    assert len(speech) == 2 * len(CLASSES)
    assert len(faces) == 2 * len(CLASSES)
    assert {item.speaker for item in speech} == {"s00", "s01"}
    assert {item.emotion for item in speech} == {item.emotion for item in faces} == set(CLASSES)
    assert soundfile.info(speech[0].path).samplerate == 16000
    with Image.open(faces[0].path) as image:
        assert image.size == (48, 48)
    assert [p.name for p in small.parent.iterdir()] == ["here"]  # no temporary folder is left


def test_synthetic_is_rendered_once(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "render_speech", None)  # would fail if it were called
    assert read(Source("synthetic", small), "speech")


def test_synthetic_without_a_path_goes_to_the_cache(
    small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shutil.copytree(small, synthetic.cache_folder())
    assert synthetic.cache_folder().is_relative_to(tmp_path)
    assert len(read(Source("synthetic", None), "speech")) == 2 * len(CLASSES)


@pytest.mark.parametrize(
    ("modality", "name", "word"), [("speech", "s00/sda-00.flac", "sda"), ("faces", "calm/000.png", "calm")]
)
def test_synthetic_names_a_file_with_a_wrong_label(
    small: Path, tmp_path: Path, modality: str, name: str, word: str
) -> None:
    shutil.copytree(small, tmp_path / "s")
    wrong = tmp_path / "s" / modality / name
    touch(wrong)
    with pytest.raises(DataError) as caught:
        read(Source("synthetic", tmp_path / "s"), modality)
    assert str(caught.value).startswith(f"{wrong}: unknown emotion {word!r}")
    assert str(caught.value).endswith(f"valid: {', '.join(CLASSES)}")


@pytest.mark.parametrize(("module", "package"), [("voices", "scipy.signal"), ("faces", "PIL")])
def test_synthetic_without_what_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, package: str
) -> None:
    monkeypatch.setattr(synthetic, "SPEAKERS", 0)
    monkeypatch.delitem(sys.modules, f"fdan_edge.data.corpora.synthetic.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"synthetic corpus needs {package.partition('.')[0]}, "):
        read(Source("synthetic", tmp_path / "s"), "speech")
    assert not list(tmp_path.iterdir())


def test_synthetic_leaves_other_folders_alone(tmp_path: Path) -> None:
    touch(tmp_path / "thesis.tex")
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(DataError, match="holds something else; name an empty or new one"):
            read(Source("synthetic", path), "speech")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_interrupted_rendering_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(folder: Path) -> None:
        touch(folder / "s00" / "sad-00.flac")
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "render_speech", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read(Source("synthetic", tmp_path / "s"), "speech")
    assert not list(tmp_path.iterdir())


def test_two_processes_may_render_at_once(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "s"

    def meanwhile(folder: Path) -> None:
        touch(folder / "s00" / "sad-00.flac")
        shutil.copytree(small, target)

    monkeypatch.setattr(synthetic, "render_speech", meanwhile)
    monkeypatch.setattr(synthetic, "render_faces", lambda folder: folder.mkdir())
    assert len(read(Source("synthetic", target), "speech")) == 2 * len(CLASSES)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.corpora
def test_the_real_corpora() -> None:
    ravdess = read(Source("ravdess", SHARED / "ravdess"), "speech")
    assert (len(ravdess), len({i.speaker for i in ravdess}), len({i.text for i in ravdess})) == (1440, 24, 2)
    assert Counter(i.emotion for i in ravdess) == {**dict.fromkeys((*CLASSES, "calm"), 192), "neutral": 96}
    emodb = read(Source("emodb", SHARED / "emodb"), "speech")
    assert (len(emodb), len({i.speaker for i in emodb})) == (339, 10)
    assert Counter(i.emotion for i in emodb) == {"angry": 127, "happy": 71, "neutral": 79, "sad": 62}
    faces = read(Source("fer2013", SHARED / "fer2013"), "faces")
    assert len(faces) == 5291
    assert Counter(i.emotion for i in faces) == {**dict.fromkeys(CLASSES, 800), "disgust": 491}
