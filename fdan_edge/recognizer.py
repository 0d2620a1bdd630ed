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
from fdan_edge.audio.resample import Resampler
from fdan_edge.errors import AudioError
from fdan_edge.runtime.log_mel import FrameRunner
from fdan_edge.runtime.opening import open_runner, open_stream_runner
from fdan_edge.runtime.recognition import Recognition, recognize_file, recognize_waveform
from fdan_edge.runtime.runner import Runner
from fdan_edge.streaming import Stream, StreamSettings


def load(
    path: str | os.PathLike[str],
    *,
    threads: int = 0,
    precision: str | None = None,
    runtime: str | None = None,
) -> Recognizer:
    """Load a model to recognize emotions with.

        recognizer = fdan_edge.load("bundle")
        print(recognizer.recognize_file("recording.wav").emotion)
        recognizer.close()

    Args:
        path: a bundle, an .onnx file or a run folder (the last needs PyTorch).
        threads: of the CPU's runtimes; 0: all cores.
        precision: fp32, fp16 or int8, or a file of the bundle; None: what fits the runtime.
        runtime: a name as of `fdan-edge infer --runtime`; None: the fastest that works here.

    Raises:
        BundleError: there is no model at `path`, it is damaged, or the runtime cannot run it here.
        ConfigError: there is no such runtime.
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
        path: str | os.PathLike[str],
        *,
        threads: int = 0,
        precision: str | None = None,
        runtime: str | None = None,
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._runner = self._stack.enter_context(open_runner(path, threads, artifact=precision, runtime=runtime))
        self._open_live = functools.partial(open_stream_runner, path, threads, artifact=precision, runtime=runtime)
        self._live: Runner | FrameRunner | None = None
        self.spec = self._runner.spec
        self.labels = self.spec.labels

    def recognize_file(self, path: str | os.PathLike[str]) -> Recognition:
        """Recognize the emotion in a sound file, or in the sound of a video.

        Raises:
            AudioError: the file is missing, damaged or not audio, or its sound is as of `recognize`.
            MissingDependencyError: a video, and PyAV is not installed.
        """
        return recognize_file(self._runner, Path(path))

    def recognize(self, waveform: NDArray[np.floating], sample_rate: int) -> Recognition:
        """Recognize the emotion in samples.

        Args:
            waveform: samples (n,) or (n, channels), full scale -1..1.
            sample_rate: Hz.

        Raises:
            AudioError: they are shorter than 0.05 s, silent throughout, not finite, or of another shape.
        """
        waveform = np.asarray(waveform)
        if waveform.ndim not in (1, 2) or not waveform.size or not np.issubdtype(waveform.dtype, np.floating):
            raise AudioError(
                f"expected floating-point samples (n,) or (n, channels), got {waveform.dtype} {waveform.shape}"
            )
        low, high = decode.RATES
        if not isinstance(sample_rate, (int, np.integer)) or not low <= sample_rate <= high:
            raise AudioError(f"sample_rate = {sample_rate!r}: valid are {low} to {high} Hz")
        mono = Resampler(sample_rate, self.spec.sample_rate)(waveform, last=True)
        return recognize_waveform(self._runner, decode.prepare(mono, self.spec.sample_rate, self.spec.trim_db))

    def stream(self, settings: StreamSettings | None = None) -> Stream:
        """Open a live stream of samples at `spec.sample_rate`; streams do not disturb each other."""
        if self._live is None:
            live = self._open_live()
            self._stack.enter_context(live)
            self._live = live
        return Stream(self._live, settings)

    def close(self) -> None:
        """Release the model; neither the recognizer nor its streams can be used afterwards."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
