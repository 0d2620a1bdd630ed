"""Sound from a microphone, through PortAudio. Imports no torch."""

from __future__ import annotations

import threading
import time
from typing import Any

from numpy.typing import NDArray

from fdan_edge.errors import AudioError, ConfigError, MissingDependencyError, one_line
from fdan_edge.streaming.backlog import Backlog
from fdan_edge.streaming.sources import STOPPED

OVERFLOW = "the sound system dropped it"
_SILENT = 3.0  # s without a block: a device that is gone often says nothing
_LONGEST = 60.0  # s; a clock that jumps further is wrong
_LIST = "fdan-edge stream --list-devices"


def input_devices() -> list[tuple[int, str, bool]]:
    """Number and name of what can record here, and whether it is the default.

    Raises:
        MissingDependencyError: as of `Microphone`.
    """
    sounddevice = _import_sounddevice()
    default = sounddevice.default.device[0]
    every = enumerate(sounddevice.query_devices())
    return [(n, str(one["name"]), n == default) for n, one in every if one["max_input_channels"] > 0]


class Microphone:
    """What one device records, at the device's own rate; its first channel.

    Args:
        device: number or a part of the name; "": the default.

    Raises:
        MissingDependencyError: sounddevice or PortAudio is not installed.
        AudioError: there is no microphone, or it cannot be opened.
        ConfigError: there is no such device, or more than one.
    """

    live = True

    def __init__(self, device: str = "") -> None:
        self._sounddevice = _import_sounddevice()
        found = self._find(device)
        self.name, self.rate = str(found["name"]), round(found["default_samplerate"])
        self._closed = threading.Event()
        self._backlog = Backlog(self.rate)
        self._last = time.monotonic()
        self._due: float | None = None  # when the device should record the next block, by its clock
        try:
            self._stream = self._sounddevice.InputStream(
                device=found["index"],
                samplerate=self.rate,
                channels=1,
                dtype="float32",
                callback=self._heard,
            )
        except self._sounddevice.PortAudioError as error:
            raise AudioError(f"{self.name}: cannot be opened: {_reason(error)}") from None

    def feed(self, backlog: Backlog) -> str:
        self._backlog, self._last = backlog, time.monotonic()
        try:
            self._stream.start()
            while not self._closed.wait(0.1):
                if not self._stream.active:
                    raise AudioError(f"{self.name} stopped; was it unplugged?")
                if time.monotonic() - self._last > _SILENT:
                    raise AudioError(f"{self.name} gave nothing for {_SILENT:g} s; was it unplugged?")
        except self._sounddevice.PortAudioError as error:
            raise AudioError(f"{self.name}: {_reason(error)}") from None
        finally:
            self._release()
        return STOPPED

    def close(self) -> None:
        self._closed.set()

    def _heard(self, block: NDArray[Any], frames: int, times: Any, status: Any) -> None:
        """PortAudio's thread: nothing slow here."""
        self._last = time.monotonic()
        now = float(times.inputBufferAdcTime)
        if status.input_overflow:
            self._backlog.put_gap(self._missing(now, frames), OVERFLOW)
        self._due = now + frames / self.rate
        self._backlog.put(block[:, 0].copy())

    def _missing(self, now: float, frames: int) -> int:
        """Samples between the last block and this one; a block's worth where the clock cannot say."""
        gap = now - self._due if self._due is not None else 0.0
        return round(gap * self.rate) if 0 < gap < _LONGEST else frames

    def _release(self) -> None:
        """Close the device; some drivers never return when theirs is gone, so nobody waits for long."""

        def close() -> None:
            try:
                self._stream.abort()
                self._stream.close()
            except self._sounddevice.PortAudioError:
                pass  # it is gone

        thread = threading.Thread(target=close, daemon=True)
        thread.start()
        thread.join(1.0)

    def _find(self, device: str) -> Any:
        try:
            return self._sounddevice.query_devices(int(device) if device.isdecimal() else device or None, "input")
        except (ValueError, self._sounddevice.PortAudioError) as error:
            if not input_devices():
                raise AudioError(
                    "no microphone on this machine; name a sound file, or pipe sound: fdan-edge stream BUNDLE -"
                ) from None
            if not device:
                raise AudioError(f"no default microphone; choose one with --device; {_LIST} names them") from None
            reason = "is the name of several" if "Multiple" in str(error) else "cannot record"
            raise ConfigError(f"device {device!r} {reason}; {_LIST} names what can") from None


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise MissingDependencyError("sounddevice", "a microphone", "pip install sounddevice") from None
    except OSError:  # its library is not there
        raise MissingDependencyError("PortAudio", "a microphone", "apt install libportaudio2") from None
    return sounddevice


def _reason(error: Exception) -> str:
    """PortAudio's words, without the number that sounddevice adds."""
    return one_line(error).partition(" [PaErrorCode")[0]
