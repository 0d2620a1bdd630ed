"""Faces and voices of corpora that are published as videos, on trees of real videos in their layouts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, Source, read, read_visual
from fdan_edge.data.scan import scan
from fdan_edge.errors import DataError
from fdan_edge.evaluation.feature_plot import face_features, faces_of
from fdan_edge.features import extract
from fdan_edge.runs.torch_runner import TorchRunner
from tests.conftest import TINY
from tests.data.corpora.test_registry import touch
from tests.helpers.clips import FOUND, clip, scene, scenes, spoken, write

Run = Callable[..., tuple[int, str, str]]
MELD_FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def config(**changes: object) -> Config:
    return Config.load(None, [*TINY, "cache=false", *(f"{name}={value}" for name, value in changes.items())])


def meld(root: Path) -> Path:
    """6 speakers with one utterance of each of two emotions, two speakers in each part."""
    for number, (part, folder) in enumerate(MELD_FOLDERS.items()):
        lines = ["Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID"]
        for person in (2 * number, 2 * number + 1):
            for utterance, (word, emotion) in enumerate((("joy", "happy"), ("sadness", "sad"))):
                lines.append(f"what {person} says,P{person},{word},{person},{utterance}")
                clip(root / folder / f"dia{person}_utt{utterance}.mp4", emotion, person, FOUND[person % 2])
        (root / f"{part}_sent_emo.csv").write_text("\n".join(lines) + "\n")
    return root


def ravdess(root: Path) -> Path:
    for code, emotion in (("03", "happy"), ("04", "sad")):
        name = f"-01-{code}-01-01-01-01.mp4"
        clip(root / "Video_Speech_Actor_01" / "Actor_01" / f"01{name}", emotion)
        write(root / "Video_Speech_Actor_01" / "Actor_01" / f"02{name}", scenes(emotion), None)
    return root


def enterface(root: Path) -> Path:
    clip(root / "subject 1" / "anger" / "sentence 1" / "s1_an_1.avi", "angry")
    clip(root / "subject 2" / "happiness" / "sentence 3" / "s_3_ha_3.avi", "happy", 1)
    return root


def savee(root: Path) -> Path:
    for name, emotion in (("a01", "angry"), ("sa02", "sad")):
        clip(root / "AudioVisualClip" / "DC" / f"{name}.avi", emotion)
    return root


def crema(root: Path) -> Path:
    clip(root / "VideoFlash" / "1001_DFA_ANG_XX.flv", "angry")
    return root


@pytest.mark.parametrize(
    ("corpus", "make", "emotions"),
    [
        ("meld", meld, {"happy": 6, "sad": 6}),
        ("ravdess", ravdess, {"happy": 1, "sad": 1}),
        ("enterface", enterface, {"angry": 1, "happy": 1}),
        ("savee", savee, {"angry": 1, "sad": 1}),
        ("crema", crema, {"angry": 1}),
    ],
)
def test_faces_of_videos(
    tmp_path: Path,
    corpus: str,
    make: Callable[[Path], Path],
    emotions: dict[str, int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    items = read_visual(Source(corpus, make(tmp_path)), 3)
    assert Counter(item.emotion for item in items) == emotions
    labels = [list(emotions).index(item.emotion) for item in items]
    faces = extract.load_faces(items, labels, config())
    assert faces.pixels.shape == (3 * len(items), 3, 32, 32)
    assert faces.labels.tolist() == [label for label in labels for _ in range(3)]
    assert capfd.readouterr().err == ""  # every face was found


def test_of_ravdess_the_video_with_sound_is_taken(tmp_path: Path) -> None:
    root = ravdess(tmp_path)
    assert {i.path.name[:2] for i in read_visual(Source("ravdess", root), 3)} == {"01"}
    next(root.rglob("01-01-03-*")).unlink()
    assert sorted(i.path.name[:5] for i in read_visual(Source("ravdess", root), 3)) == ["01-01", "02-01"]
    assert len(read(Source("ravdess", root), "videos")) == 3


@pytest.mark.parametrize(
    "name", ["DC/a01/{:03}.jpg", "DC/a01/frame{}.jpg", "DC/a01_{}.jpg", "all/DC_a01-{:04}.jpg"]
)
def test_savee_frames_are_spread_over_the_clip(tmp_path: Path, name: str) -> None:
    touch(*(tmp_path / name.format(number) for number in range(1, 13)), tmp_path / "DC" / "face.jpg")
    touch(tmp_path / "clips" / "DC" / "a01.avi", tmp_path / "clips" / "DC" / "h02.avi")
    assert len(read(Source("savee", tmp_path), "faces")) == 12
    images = [i for i in read_visual(Source("savee", tmp_path), 3) if i.path.suffix == ".jpg"]
    assert [i.id for i in images] == [f"DC/a01/{number:06}.jpg" for number in (3, 7, 11)]
    assert {(i.emotion, i.speaker, i.clip) for i in images} == {("angry", "DC", "DC/a01")}
    videos = [i.id for i in read_visual(Source("savee", tmp_path), 3) if i.path.suffix == ".avi"]
    assert videos == ["DC/h02.avi"]  # a01 is there as images
    assert len(read_visual(Source("savee", tmp_path), 64)) == 13


def test_faces_are_cut_out_of_frame_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "DC" / "h01").mkdir(parents=True)
    for number in range(3):
        frame = np.full((240, 320, 3), 90, np.uint8) if number == 1 else scene("happy", FOUND[0], number)
        Image.fromarray(frame).save(tmp_path / "DC" / "h01" / f"{number:03}.png")
    items = read_visual(Source("savee", tmp_path), 3)
    faces = extract.load_faces(items, [0, 0, 0], config())
    assert len(faces.pixels) == 2
    assert "no face in 1 of 3 frames: skipped" in capfd.readouterr().err
    whole = extract.crop_faces(Item("x", "x", items[0].path, "happy"), config())
    assert not np.array_equal(whole.pixels[0], faces.pixels[0].numpy())  # that one is taken for a face as it is


def test_images_and_videos_of_ones_own(tmp_path: Path) -> None:
    touch(*(tmp_path / "sad" / name for name in ("a.png", "a.mp4", "b.mp4")))
    assert [i.path.name for i in read_visual(Source("folder", tmp_path), 3)] == ["a.png", "b.mp4"]
    assert [i.path.name for i in read(Source("folder", tmp_path), "speech")] == ["a.mp4", "b.mp4"]
    touch(tmp_path / "sad" / "b.wav")  # the sound of a video is preferred to it; other videos stay
    assert [i.path.name for i in read(Source("folder", tmp_path), "speech")] == ["a.mp4", "b.wav"]


def test_corpora_without_faces(tmp_path: Path) -> None:
    message = (
        "corpus emodb has no faces; corpora that have: savee, meld, ravdess, crema, enterface, javased, fer2013"
    )
    with pytest.raises(DataError, match=message):
        read_visual(Source("emodb", tmp_path), 3)
    with pytest.raises(DataError, match="no videos found; expected Actor_NN"):
        read_visual(Source("ravdess", tmp_path), 3)
    with pytest.raises(DataError, match="no faces or videos found; expected AudioData"):
        read_visual(Source("savee", tmp_path), 3)


def test_broken_videos_and_frames_without_faces(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wall = [np.full((240, 320, 3), 90, np.uint8)] * 3
    clip(tmp_path / "a.mp4", "happy")
    write(tmp_path / "b.mp4", wall, None)
    write(tmp_path / "c.avi", [*scenes("sad", count=3), *wall], None)
    (tmp_path / "d.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:2000])
    (tmp_path / "e.mp4").write_bytes(b"")
    write(tmp_path / "f.mp4", [], spoken("sad"))
    items = [Item("x", path.name, path, "sad") for path in sorted(tmp_path.iterdir())]
    faces = extract.load_faces(items, list(range(6)), config(video_frames=2))
    assert faces.labels.tolist() == [0, 0, 2]
    said = capfd.readouterr().err
    assert said.count("left out:") == said.count("\n") - 1 == 3
    for name in ("d.mp4: is cut short or damaged MP4", "e.mp4: is empty", "f.mp4: a file without pictures"):
        assert name in said
    assert said.endswith("no face in 3 of 6 frames: skipped\n")
    assert extract.crop_faces(items[1], config()).pixels.shape == (0, 3, 32, 32)
    with pytest.raises(DataError, match="no usable face among 1 files"):
        extract.load_faces([items[1]], [0], config())


def test_an_utterance_is_heard_once(tmp_path: Path) -> None:
    """Extracted sound takes the place of its video, which keeps its part and its identity."""
    touch(*(tmp_path / folder / "dia0_utt0.mp4" for folder in MELD_FOLDERS.values()))
    touch(tmp_path / "wav" / "train" / "dia0_utt0.wav")
    for part in MELD_FOLDERS:
        table = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\nhi,Joey,joy,0,0\n"
        (tmp_path / f"{part}_sent_emo.csv").write_text(table)
    names = [item.id for item in read(Source("meld", tmp_path), "speech")]
    assert names == ["dev/dia0_utt0.mp4", "test/dia0_utt0.mp4", "train/dia0_utt0.wav"]
    root = tmp_path / "e"
    touch(*(root / "subject 2" / "anger" / f"sentence {n}" / f"s_3_an_{n}.avi" for n in (1, 2)))
    touch(root / "wav" / "s2_an_2.wav")
    names = [item.path.name for item in read(Source("enterface", root), "speech")]
    assert sorted(names) == ["s2_an_2.wav", "s_3_an_1.avi"]


def test_a_scan_opens_videos(tmp_path: Path) -> None:
    root = enterface(tmp_path)
    speech, videos = scan(Source("enterface", root))
    assert (speech.modality, speech.items, speech.broken) == ("speech", 2, [])
    assert speech.hours > 0
    assert (videos.modality, videos.items, videos.broken, videos.hours) == ("videos", 2, [], 0)
    first = next(root.rglob("s1_an_1.avi"))
    first.write_bytes(first.read_bytes()[:3000])
    for names in scan(Source("enterface", root)):
        (line,) = names.broken
        assert line.startswith(f"{first}: is cut short: 3000 of ")


def test_train_on_videos_alone(run: Run, tmp_path: Path) -> None:
    source, out = f"meld:{meld(tmp_path / 'm')}", tmp_path / "run"
    settings = [
        word for setting in (*TINY, "cache=false", "epochs=1", "video_frames=2") for word in ("--set", setting)
    ]
    code, text, said = run("train", "--speech", source, "--faces", source, "--out", out, *settings, "--json")
    assert "4 faces show who or what the protocol holds out: left out" in said
    assert "; 8 faces; " in said
    metrics = json.loads(text)
    assert code == (1 if metrics["verdict"]["useless"] else 0), said
    assert metrics["method"] == "FDAN"
    assert metrics["test"]["n"] >= 2
    runner = TorchRunner(out)
    items = faces_of(runner)
    assert len(items) == 12
    assert face_features(runner, items)[0].shape == (12, 16)  # one of each video
    code, text, said = run("infer", out, tmp_path / "m" / "train_splits" / "dia0_utt0.mp4", "--json")
    assert (code, said) == (0, "")
    assert json.loads(text)["emotion"] in ("happy", "sad")
