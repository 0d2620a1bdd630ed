"""A loaded model, for recordings and live streams. Imports no torch."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.audio import decode
from fdan_edge.audio.high_pass import filtered
from fdan_edge.audio.pcm import MOST_CHANNELS, RATES
from fdan_edge.audio.resample import Resampler
from fdan_edge.audio.windows import Waveform
from fdan_edge.errors import AudioError
from fdan_edge.runtime import included
from fdan_edge.runtime.log_mel import FrameRunner
from fdan_edge.runtime.opening import open_feature_runner, open_runner, open_stream_runner
from fdan_edge.runtime.recognition import (
    Recognition,
    embed_file,
    embed_waveform,
    recognize_file,
    recognize_waveform,
)
from fdan_edge.runtime.runner import FeatureRunner, Features, Runner
from fdan_edge.streaming import Stream, StreamSettings


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    threads: int = 0,
    precision: str | None = None,
    runtime: str | None = None,
) -> Recognizer:
    """Load a model to recognize emotions with.

        recognizer = fdan_edge.load()
        print(recognizer.recognize_file("recording.wav").emotion)
        recognizer.close()

    Args:
        path: a bundle, an .onnx file or a run folder (the last needs PyTorch); as text also a name of
            `fdan-edge models`, which goes before a path of that name; None: the default model, `open`.
        threads: of the CPU's runtimes, at most 1024; 0: all cores.
        precision: fp32, fp16 or int8, or a file of the bundle; None: what fits the runtime.
        runtime: a name as of `fdan-edge infer --runtime`; None: the fastest that works here.

    Raises:
        BundleError: there is no model at `path`, it is damaged, or the runtime cannot run it here.
        ConfigError: there is no such runtime, or that is no number of threads.
        MissingDependencyError: a package that it needs is not installed.
    """
    return Recognizer(path, threads=threads, precision=precision, runtime=runtime)


class Recognizer:
    """Recognizes emotions with a model that is loaded once; a context manager.

        with fdan_edge.load("bundle") as recognizer:
            print(recognizer.recognize(samples, 48000).emotion)

    Args and errors are those of `load`.

    Attributes:
        spec: the model's labels, sample rate and window.
        labels: the emotions that it tells apart, in the order of its probabilities.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        threads: int = 0,
        precision: str | None = None,
        runtime: str | None = None,
    ) -> None:
        path = included.locate(path)
        included.introduce(path)
        self._stack = contextlib.ExitStack()
        self._runner = self._stack.enter_context(open_runner(path, threads, artifact=precision, runtime=runtime))
        self._open_live = functools.partial(open_stream_runner, path, threads, artifact=precision, runtime=runtime)
        self._live: Runner | FrameRunner | None = None
        self._open_embedder = functools.partial(
            open_feature_runner, path, threads, artifact=precision, runtime=runtime
        )
        self._embedder = self._runner if isinstance(self._runner, FeatureRunner) else None
        self.spec = self._runner.spec
        self.labels = self.spec.labels

    def recognize_file(self, path: str | os.PathLike[str], channel: str = "auto") -> Recognition:
        """Recognize the emotion in a sound file, or in the sound of a video.

        Args:
            path: of the file.
            channel: as of `recognize`.

        Raises:
            AudioError: the file is missing, damaged or not audio, or its sound is as of `recognize`.
            ConfigError: there is no such choice of a channel.
            MissingDependencyError: a video, and PyAV is not installed.
        """
        return recognize_file(self._runner, Path(path), channel)

    def recognize(self, waveform: NDArray[np.floating], sample_rate: int, channel: str = "auto") -> Recognition:
        """Recognize the emotion in samples.

        Args:
            waveform: samples (n,) or (n, channels), full scale -1..1.
            sample_rate: Hz.
            channel: what becomes of several: `mix`, their mean; `left`, `right` or a number from 1 on, as text;
                `auto`, the mean, or where channels cancel each other the loudest one.

        Raises:
            AudioError: they are shorter than 0.05 s, silent throughout, not finite, or of another shape; or there
                is no such channel.
            ConfigError: there is no such choice of a channel.
        """
        return recognize_waveform(self._runner, self._prepared(waveform, sample_rate, channel))

    def embed_file(self, path: str | os.PathLike[str], channel: str = "auto") -> Features:
        """Compute the embedding (d,) of a sound file, float32: the features that the classifier decides by.

        They are the mean over the file's windows, not normalised. Of a bundle ONNX Runtime gives them, whatever
        recognizes.

        Args:
            path, channel: as of `recognize_file`.

        Raises:
            AudioError, ConfigError, MissingDependencyError: as of `recognize_file`.
            BundleError: the model was loaded for TensorRT, whose engines have no such output.
            MissingDependencyError: a bundle or a file, and the package onnx is not installed.
        """
        return _embedding(embed_file(self._feature_runner(), Path(path), channel))

    def embed(self, waveform: NDArray[np.floating], sample_rate: int, channel: str = "auto") -> Features:
        """Compute the embedding (d,) of samples; arguments as of `recognize`, the rest as of `embed_file`."""
        return _embedding(embed_waveform(self._feature_runner(), self._prepared(waveform, sample_rate, channel)))

    def stream(self, settings: StreamSettings | None = None) -> Stream:
        """Open a live stream of samples at `spec.sample_rate`; streams do not disturb each other."""
        if self._live is None:
            live = self._open_live()
            self._stack.enter_context(live)
            self._live = live
        return Stream(self._live, settings)

    def _feature_runner(self) -> FeatureRunner:
        """Return what gives features; it is opened when they are first asked for."""
        if self._embedder is None:
            self._embedder = self._stack.enter_context(self._open_embedder())
        return self._embedder

    def _prepared(self, waveform: NDArray[np.floating], sample_rate: int, channel: str) -> Waveform:
        """Check samples, and make them what the model hears; errors as of `recognize`."""
        waveform = np.asarray(waveform)
        if waveform.ndim not in (1, 2) or not waveform.size or not np.issubdtype(waveform.dtype, np.floating):
            raise AudioError(
                f"expected floating-point samples (n,) or (n, channels), got {waveform.dtype} {waveform.shape}"
            )
        if waveform.ndim == 2 and waveform.shape[1] > min(MOST_CHANNELS, waveform.shape[0]):
            raise AudioError(
                f"samples {waveform.shape} look transposed: expected (n, channels), at most {MOST_CHANNELS} "
                "channels and more samples than channels; try its .T"
            )
        low, high = RATES
        if not isinstance(sample_rate, (int, np.integer)) or not low <= sample_rate <= high:
            raise AudioError(f"sample_rate = {sample_rate!r}: valid are {low} to {high} Hz")
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            waveform = waveform.astype(np.float32, copy=False)
        if not np.isfinite(waveform).all():
            raise AudioError(decode.NOT_FINITE)
        mono = Resampler(sample_rate, self.spec.sample_rate, channel)(waveform, last=True)
        mono = filtered(mono, self.spec.high_pass, self.spec.sample_rate)
        noisy = decode.expects_noise(self.spec.high_pass)
        return decode.prepare(mono, self.spec.sample_rate, self.spec.trim_db, noisy=noisy)

    def close(self) -> None:
        """Release the model; neither the recognizer nor its streams can be used afterwards."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _embedding(recognition: Recognition) -> Features:
    assert recognition.embedding is not None  # it was asked for
    return recognition.embedding
