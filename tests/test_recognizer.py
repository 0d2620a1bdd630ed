"""A loaded model: recordings, samples and live streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fdan_edge
from fdan_edge import Recognizer
from fdan_edge.audio import decode
from fdan_edge.audio.windows import cut_windows
from fdan_edge.errors import AudioError, BundleError, ConfigError
from fdan_edge.runtime.opening import open_feature_runner, open_runner
from fdan_edge.runtime.recognition import recognize_file
from fdan_edge.streaming import StreamSettings
from tests.helpers.stream_parts import babble


@pytest.fixture(scope="module")
def recording(ravdess_tree: Path) -> Path:
    return sorted(ravdess_tree.rglob("*.wav"))[3]


def test_samples_are_recognised_as_their_file_is(bundle_folder: Path, recording: Path) -> None:
    samples, rate = soundfile.read(recording, dtype="float32")
    with Recognizer(bundle_folder) as recognizer, open_runner(bundle_folder) as runner:
        got, want = recognizer.recognize(samples, rate), recognize_file(runner, recording)
        stereo = recognizer.recognize(np.stack([samples, samples], axis=1).astype(np.float64), rate)
    assert got.path is None
    assert {**got.to_dict(), "path": ""} == {**want.to_dict(), "path": ""}
    assert stereo.probabilities == pytest.approx(got.probabilities, abs=1e-6)
    assert list(got.probabilities) == list(recognizer.labels)


def test_a_file_is_recognised_as_the_command_line_does(bundle_folder: Path, recording: Path) -> None:
    recognizer = fdan_edge.load(bundle_folder, threads=1)
    with open_runner(bundle_folder, 1) as runner:
        want = recognize_file(runner, recording)
    assert recognizer.recognize_file(str(recording)) == want
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        recognizer.recognize_file("none.wav")
    recognizer.close()


def test_load_takes_what_the_command_line_takes(bundle_folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown runtime 'abacus'"):
        fdan_edge.load(bundle_folder, runtime="abacus")
    with pytest.raises(BundleError, match="int8"):
        fdan_edge.load(bundle_folder, precision="int8")  # the bundle has fp32 alone
    with fdan_edge.load(bundle_folder, precision="fp32", runtime="onnxruntime-cpu") as recognizer:
        assert recognizer.spec.labels == recognizer.labels


@pytest.mark.parametrize("threads", [-3, 1025])
def test_load_takes_the_numbers_of_threads_that_the_command_line_takes(bundle_folder: Path, threads: int) -> None:
    with pytest.raises(ConfigError, match=rf"threads = {threads}: valid are 0 \(all cores\) to 1024"):
        fdan_edge.load(bundle_folder, threads=threads)


def test_embeddings_of_a_file_and_of_its_samples(bundle_folder: Path, recording: Path) -> None:
    samples, rate = soundfile.read(recording, dtype="float32")
    with fdan_edge.load(bundle_folder, threads=1) as recognizer:
        of_file, of_samples = recognizer.embed_file(str(recording)), recognizer.embed(samples, rate)
        stereo = recognizer.embed(np.stack([samples, samples], axis=1).astype(np.float64), rate)
        with open_feature_runner(bundle_folder, 1) as runner:
            spec = recognizer.spec
            waveform = decode.load_speech(recording, spec.sample_rate, spec.trim_db, high_pass=spec.high_pass)
            windows = cut_windows(waveform, recognizer.spec.window, recognizer.spec.window_hop)
            _, features = runner.predict_features(windows)
        with pytest.raises(AudioError, match=r"none\.wav: no such file"):
            recognizer.embed_file("none.wav")
        with pytest.raises(AudioError, match="is silent"):
            recognizer.embed(np.zeros(16000), 16000)
    assert len(windows) > 1
    assert of_file.shape == (16,)
    assert of_file.dtype == np.float32
    np.testing.assert_allclose(of_file, features.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(of_samples, of_file, atol=1e-5)
    np.testing.assert_allclose(stereo, of_file, atol=1e-5)


def test_a_run_and_its_bundle_give_the_same_embedding(
    run_folder: Path, bundle_folder: Path, ravdess_tree: Path
) -> None:
    paths = sorted(ravdess_tree.rglob("*.wav"))[:6]
    with fdan_edge.load(run_folder) as run, fdan_edge.load(bundle_folder) as bundle:
        own, exported = (np.stack([model.embed_file(path) for path in paths]) for model in (run, bundle))
    np.testing.assert_allclose(exported, own, atol=1e-4)
    assert np.ptp(own, axis=0).max() > 0.01  # recordings differ, so that agreeing means something


def test_any_rate(bundle_folder: Path, recording: Path) -> None:
    samples, rate = soundfile.read(recording, dtype="float32")
    doubled = np.repeat(samples, 2)
    with Recognizer(bundle_folder, threads=1) as recognizer:
        length = recognizer.recognize(samples, rate).seconds
        assert recognizer.recognize(doubled, 2 * rate).seconds == pytest.approx(length, abs=0.05)


def test_streams_do_not_disturb_each_other(bundle_folder: Path) -> None:
    sound = babble((1.0, 0.0), (2.0, 0.3), (1.0, 0.0))
    settings = StreamSettings(vad="energy")
    with Recognizer(bundle_folder) as recognizer:
        alone = recognizer.stream(settings)
        want = alone.push(sound) + alone.finish()
        one, other = recognizer.stream(settings), recognizer.stream(settings)
        got = []
        for at in range(0, len(sound), 1000):
            got += one.push(sound[at : at + 1000])
            other.push(sound[::-1][at : at + 1000])
        got += one.finish()
    assert got == want
    assert any(event.type == "result" for event in got)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(16000, np.int16), 16000, r"expected floating-point samples .* got int16 \(16000,\)"),
        (np.zeros((1, 2, 3)), 16000, r"got float64 \(1, 2, 3\)"),
        (np.zeros(0), 16000, r"got float64 \(0,\)"),
        (np.ones(16000), 10, r"sample_rate = 10: valid are 1000 to 768000 Hz"),
        (np.full(16000, np.nan), 16000, r"not finite"),
        (np.full(16000, np.inf), 16000, r"not finite"),
        (np.full(16000, 1e300), 16000, r"not finite"),  # beyond 32 bits
        (np.zeros(16000), 16000, r"is silent"),
        (np.ones(10), 16000, r"is too short"),
    ],
)
def test_what_is_no_recording(bundle_folder: Path, waveform: np.ndarray, rate: int, message: str) -> None:
    with Recognizer(bundle_folder) as recognizer, pytest.raises(AudioError, match=message):
        recognizer.recognize(waveform, rate)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Recognizer(tmp_path)


def test_it_needs_no_torch_and_says_nothing(bundle_folder: Path) -> None:
    code = f"""
import sys
import fdan_edge
with fdan_edge.load({str(bundle_folder)!r}) as recognizer:
    recognizer.stream()
assert not {{"torch", "librosa", "onnx"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shape", [(2, 16000), (1, 16000), (65, 65), (16000, 65), (3, 4)])
def test_an_array_that_looks_transposed(bundle_folder: Path, shape: tuple[int, int]) -> None:
    with fdan_edge.load(bundle_folder) as recognizer:
        with pytest.raises(AudioError, match=rf"\({shape[0]}, {shape[1]}\) look transposed: expected \(n, chan"):
            recognizer.recognize(np.zeros(shape, np.float32), 16000)
        with pytest.raises(AudioError, match="transposed"):
            recognizer.embed(np.zeros(shape, np.float32), 16000)


@pytest.mark.parametrize("shape", [(64, 64), (800, 2), (16000, 64)])
def test_many_channels_are_no_mistake(bundle_folder: Path, shape: tuple[int, int]) -> None:
    refused = pytest.raises(AudioError, match=r"too short|silent")
    with fdan_edge.load(bundle_folder) as recognizer, refused:
        recognizer.recognize(np.zeros(shape, np.float32), 16000)
