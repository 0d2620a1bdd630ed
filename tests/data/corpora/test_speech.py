"""Readers of speech and videos, on trees in the publishers' layouts with the oddities of the real ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, get_corpus, read
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch

SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def speech(corpus: str, root: Path) -> list[Item]:
    return read(Source(corpus, root), "speech")


def videos(corpus: str, root: Path) -> list[Item]:
    return read(Source(corpus, root), "videos")


def savee_names() -> list[str]:
    codes = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
    return [f"{code}{number:02}" for code, count in codes.items() for number in range(1, count + 1)]


def test_savee_of_the_publisher(tmp_path: Path) -> None:
    speakers = ("DC", "JE", "JK", "KL")
    touch(*(tmp_path / "AudioData" / s / f"{name}.wav" for s in speakers for name in savee_names()))
    touch(tmp_path / "AudioData" / "Info.txt", tmp_path / "AudioData" / "DC" / "Thumbs.db")
    items = speech("savee", tmp_path)
    assert len(items) == 480
    assert Counter(i.speaker for i in items) == dict.fromkeys(speakers, 120)
    assert Counter(i.emotion for i in items) == {**dict.fromkeys(SEVEN, 60), "neutral": 120}
    by_id = {i.id: i for i in items}
    assert by_id["DC/su04.wav"].emotion == "surprise"
    assert by_id["DC/su04.wav"].text == by_id["KL/su04.wav"].text == "su04"
    assert by_id["DC/a01.wav"].text == by_id["JK/n01.wav"].text == "common01"  # the same sentence
    assert by_id["DC/a04.wav"].text != by_id["DC/d04.wav"].text


def test_savee_in_one_folder_has_the_same_ids(tmp_path: Path) -> None:
    touch(*(tmp_path / "ALL" / f"DC_{name}.wav" for name in savee_names()))
    touch(*(tmp_path / "AudioData" / "DC" / f"{name}.wav" for name in savee_names()))
    flat, folders = speech("savee", tmp_path / "ALL"), speech("savee", tmp_path / "AudioData")
    assert [i.key for i in flat] == [i.key for i in folders]
    assert [i.key for i in speech("savee", tmp_path / "AudioData" / "DC")] == [i.key for i in folders]
    assert len(speech("savee", tmp_path)) == 120  # both are there: each once


def test_savee_videos_and_what_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "AudioVisualClip" / "JE" / "sa1.avi", tmp_path / "loose" / "a01.wav", tmp_path / "x01.wav")
    (item,) = videos("savee", tmp_path)
    assert (item.id, item.emotion, item.speaker) == ("JE/sa01.avi", "sad", "JE")
    why = get_corpus("savee").skip_reason
    assert why
    assert why("loose/a01.wav") == "lies in no speaker's folder (DC, JE, JK, KL)"
    assert why("x01.wav").startswith("its name is not of the form AudioData/")


MELD_HEAD = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"


def meld_tables(root: Path) -> None:
    """The three tables as they are: quotes of Windows as control characters, commas and quotes in the text."""
    rows = {
        "train": '1,"also I\u0092m the point person, right?",Chandler,neutral,neutral,0,0,8,21,"00:16:16,059","0"',
        "dev": '1,"Oh my ""God"", he\u0092s lost it.",Phoebe,sadness,negative,0,0,4,7,"00:20:57,256","0"',
        "test": "1,Why do all you\x92re coffee mugs have numbers?,Mark,joy,positive,0,0,3,19,0,0",
    }
    for part, row in rows.items():
        text = f"{MELD_HEAD}\r\n{row}\r\n"
        data = text.encode("latin-1") if part == "test" else text.encode()
        (root / f"{part}_sent_emo.csv").write_bytes(data)


def meld_tree(root: Path, suffix: str) -> None:
    folders = ("train/train_splits", "dev/dev_splits_complete", "test/output_repeated_splits_test")
    touch(*(root / folder / f"dia0_utt0{suffix}" for folder in folders))
    meld_tables(root)


def test_meld_keeps_the_publishers_parts(tmp_path: Path) -> None:
    meld_tree(tmp_path, ".mp4")
    by_id = {item.id: item for item in videos("meld", tmp_path)}
    assert {name: (i.split, i.emotion, i.speaker) for name, i in by_id.items()} == {
        "train/dia0_utt0.mp4": ("train", "neutral", "Chandler"),
        "dev/dia0_utt0.mp4": ("val", "sad", "Phoebe"),
        "test/dia0_utt0.mp4": ("test", "happy", "Mark"),
    }
    assert by_id["train/dia0_utt0.mp4"].text == "also I’m the point person, right?"
    assert by_id["dev/dia0_utt0.mp4"].text == 'Oh my "God", he’s lost it.'
    assert by_id["test/dia0_utt0.mp4"].text == "Why do all you’re coffee mugs have numbers?"
    assert speech("meld", tmp_path) == videos("meld", tmp_path)


def test_meld_with_extracted_sound_and_leftovers(tmp_path: Path) -> None:
    meld_tree(tmp_path, ".wav")
    test = tmp_path / "test" / "output_repeated_splits_test"
    touch(test / "final_videos_testdia0_utt0.wav", test / "dia7_utt1.wav", test / "._dia0_utt0.wav")
    touch(tmp_path / "dia0_utt0.wav")
    assert [i.id for i in speech("meld", tmp_path)] == [f"{p}/dia0_utt0.wav" for p in ("dev", "test", "train")]
    why = get_corpus("meld").skip_reason
    assert why
    assert why("test/x/final_videos_testdia0_utt0.wav") == "its name is not of the form diaX_uttY"
    assert why("test/x/dia7_utt1.wav") == "no row of test_sent_emo.csv is of it"
    assert why("dia0_utt0.wav") == "lies in no train, dev or test folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Utterance,Speaker\n", "line 1: no column 'emotion'; its columns: utterance, speaker"),
        (f"{MELD_HEAD}\n1,Hi,Joey,hungry,,0,0,,,,\n", "line 2: unknown emotion 'hungry'"),
        (f"{MELD_HEAD}\n1,Hi,Joey,joy,,zero,0,,,,\n", "line 2: a dialogue or utterance is no number"),
        (f"{MELD_HEAD}\n\n1,Hi,Joey,joy\n", "line 3: 4 values for 11 columns"),
    ],
)
def test_meld_names_the_line_of_a_damaged_table(tmp_path: Path, text: str, message: str) -> None:
    meld_tree(tmp_path, ".mp4")
    (tmp_path / "dev_sent_emo.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        videos("meld", tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/dev_sent_emo.csv, {message}")


def test_meld_without_its_tables(tmp_path: Path) -> None:
    touch(tmp_path / "train_splits" / "dia0_utt0.mp4")
    with pytest.raises(DataError, match=r"holds utterances but none of the tables train, dev, test_sent_emo.csv"):
        videos("meld", tmp_path)


def test_ravdess_videos(tmp_path: Path) -> None:
    actor = tmp_path / "Video_Speech_Actor_03" / "Actor_03"
    touch(
        actor / "01-01-06-02-01-02-03.mp4", actor / "02-01-06-02-01-02-03.mp4", actor / "01-02-06-02-01-02-03.mp4"
    )
    items = videos("ravdess", tmp_path)
    assert [i.id for i in items] == [f"Actor_03/0{m}-01-06-02-01-02-03.mp4" for m in (1, 2)]
    assert {(i.emotion, i.speaker, i.text) for i in items} == {("fear", "03", "01")}
    why = get_corpus("ravdess").skip_reason
    assert why
    assert why("Actor_03/01-01-06-02-01-02-03.wav").startswith("its name is of another kind of file")


def test_boredom_is_left_out_of_training_unless_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    touch(*(tmp_path / "wav" / f"03a01{letter}a.wav" for letter in "WLEAFTN"))
    source = Source("emodb", tmp_path)
    assert len(speech("emodb", tmp_path)) == 7
    six = read_labelled_speech([source], calm_as_neutral=True)
    assert "boredom" not in {i.emotion for i in six}
    assert capfd.readouterr().err.startswith(
        "left out: 1 of 7 recordings, which are of boredom; --set boredom=true"
    )
    seven = read_labelled_speech([source], calm_as_neutral=True, boredom=True)
    assert {i.emotion for i in seven} == {i.emotion for i in six} | {"boredom"}
    assert capfd.readouterr().err == ""


def test_crema(tmp_path: Path) -> None:
    codes = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
    touch(*(tmp_path / "AudioWAV" / f"1001_DFA_{code}_XX.wav" for code in codes))
    touch(tmp_path / "AudioMP3" / "1001_DFA_ANG_XX.mp3")  # the same recording
    touch(tmp_path / "AudioWAV" / "1040_ITH_SAD_X.wav", tmp_path / "AudioWAV" / "1001_DFA_SUR_XX.wav")
    touch(tmp_path / "VideoFlash" / "1001_DFA_ANG_XX.flv")
    items = {i.id: i for i in speech("crema", tmp_path)}
    assert len(items) == 7
    assert {code: items[f"AudioWAV/1001_DFA_{code}_XX.wav"].emotion for code in codes} == codes  # no mp3
    last = items["AudioWAV/1040_ITH_SAD_X.wav"]
    assert (last.speaker, last.text, last.emotion) == ("1040", "ITH", "sad")
    assert [i.id for i in videos("crema", tmp_path)] == ["VideoFlash/1001_DFA_ANG_XX.flv"]


def test_enterface(tmp_path: Path) -> None:
    root = tmp_path / "enterface database"
    touch(
        root / "subject 1" / "anger" / "sentence 1" / "s1_an_1.avi",
        root / "subject 2" / "happiness" / "sentence 3" / "s_3_ha_3.avi",  # wrong names are in the original
        root / "subject 6" / "sadness" / "s6_sa_4.avi",  # no folders of sentences
        root / "subject-44" / "Surprise" / "sentence-5" / "s44_su_5.avi",
        root / "subject 1" / "anger" / "sentence 1" / "Thumbs.db",
    )
    items = videos("enterface", tmp_path)
    assert [(i.speaker, i.emotion, i.text) for i in items] == [
        ("1", "angry", "anger1"),
        ("2", "happy", "happiness3"),
        ("44", "surprise", "surprise5"),
        ("6", "sad", "sadness4"),
    ]
    part = videos("enterface", root / "subject 6")
    assert [i.id for i in part] == ["subject 6/sadness/sentence 4/s6_sa_4.avi"]
    assert part[0].key in {i.key for i in items}


def test_enterface_with_extracted_sound(tmp_path: Path) -> None:
    touch(tmp_path / "wav" / "s12_di_2.wav", tmp_path / "wav" / "other.wav")
    touch(tmp_path / "subject 12" / "disgust" / "sentence 2" / "s12_di_2.wav")
    (item,) = speech("enterface", tmp_path)
    assert item.id == "subject 12/disgust/sentence 2/s12_di_2.wav"
    assert (item.speaker, item.emotion, item.text) == ("12", "disgust", "disgust2")


def test_casia(tmp_path: Path) -> None:
    emotions = ("angry", "fear", "happy", "neutral", "sad", "surprise")
    for speaker in ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang"):
        touch(*(tmp_path / "CASIA database" / speaker / e / f"{n}.wav" for e in emotions for n in (201, 250)))
    touch(tmp_path / "CASIA database" / "someone" / "angry" / "201.wav")
    touch(tmp_path / "CASIA database" / "wangzhe" / "angry" / "notes.wav")
    items = speech("casia", tmp_path)
    assert len(items) == 48
    assert Counter(i.emotion for i in items) == dict.fromkeys(emotions, 8)
    assert {i.speaker for i in items} == {"liuchanhg", "wangzhe", "zhaoquanyin", "zhaozuoxiang"}
    assert {i.text for i in items} == {"201", "250"}
    part = speech("casia", tmp_path / "CASIA database" / "ZhaoZuoxiang")
    assert {i.key for i in part} <= {i.key for i in items}


def test_names_in_lower_case(tmp_path: Path) -> None:
    touch(tmp_path / "03a01wa.wav", tmp_path / "1001_dfa_ang_xx.wav")
    assert [(i.emotion, i.speaker, i.text) for i in speech("emodb", tmp_path)] == [("angry", "03", "a01")]
    assert [(i.emotion, i.speaker, i.text) for i in speech("crema", tmp_path)] == [("angry", "1001", "DFA")]
