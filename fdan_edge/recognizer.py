"""The library's front door: `from fdan_edge import Recognizer`. Imports no torch."""

from __future__ import annotations

import contextlib
import functools
import os
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.audio import decode
from fdan_edge.audio.resample import Resampler
from fdan_edge.errors import AudioError
from fdan_edge.runtime.log_mel import FrameRunner
from fdan_edge.runtime.opening import open_runner, open_stream_runner
from fdan_edge.runtime.recognition import Recognition, recognize_waveform
from fdan_edge.runtime.runner import Runner
from fdan_edge.streaming import Stream, StreamSettings


class Recognizer:
    """A model that is loaded once, for recordings and for live streams; a context manager.

        with Recognizer("bundle") as recognizer:
            print(recognizer.recognize(samples, 48000).emotion)

    Args:
        target: a bundle, an .onnx file or a run folder (the last needs PyTorch).
        threads: of the CPU's runtimes; 0: all cores.
        precision: of a bundle's, or a file in it; None: what fits the runtime.
        runtime: one of `fdan_edge.runtime.opening.RUNTIMES`; None: the fastest that fits.

    Raises:
        BundleError: the target is none of these, or damaged; or the runtime cannot run it here.
        ConfigError: there is no such runtime.
        MissingDependencyError: what it needs is not installed.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        threads: int = 0,
        precision: str | None = None,
        runtime: str | None = None,
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._runner = self._stack.enter_context(open_runner(target, threads, artifact=precision, runtime=runtime))
        self._open_live = functools.partial(
            open_stream_runner, target, threads, artifact=precision, runtime=runtime
        )
        self._live: Runner | FrameRunner | None = None
        self.spec = self._runner.spec
        self.labels = self.spec.labels

    def recognize(self, waveform: NDArray[np.floating], sample_rate: int) -> Recognition:
        """The emotion in a recording.

        Args:
            waveform: samples (n,) or (n, channels), full scale -1..1.
            sample_rate: Hz.

        Raises:
            AudioError: it is shorter than 0.05 s, silent throughout, not finite, or of another shape.
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
        """A new live stream of this model, at `spec.sample_rate`; streams do not disturb each other."""
        if self._live is None:
            live = self._open_live()
            self._stack.enter_context(live)
            self._live = live
        return Stream(self._live, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
