"""Record from a microphone, through PortAudio. Imports no torch."""

from __future__ import annotations

import threading
import time
from typing import Any

from numpy.typing import NDArray

from fdan_edge.errors import AudioError, ConfigError, MissingDependencyError, one_line
from fdan_edge.streaming.backlog import Backlog
from fdan_edge.streaming.sources import STOPPED

OVERFLOW = "the sound system dropped it"
SILENT_SECONDS = 3.0  # without a block: a device that is gone often reports nothing
_LONGEST = 60.0  # s; a clock that jumps further is wrong
_LIST = "fdan-edge stream --list-devices"


def input_devices() -> list[tuple[int, str, bool]]:
    """List the devices that can record here: number, name, and whether it is the default.

    Raises:
        MissingDependencyError: as of `Microphone`.
    """
    sounddevice = _import_sounddevice()
    default = sounddevice.default.device[0]
    devices = enumerate(sounddevice.query_devices())
    return [(n, str(device["name"]), n == default) for n, device in devices if device["max_input_channels"] > 0]


class Microphone:
    """Records the first channel of one device, at the device's own rate.

    Args:
        device: number or a part of the name; "": the default.
        silent_seconds: how long the device may give nothing before it counts as gone.

    Raises:
        MissingDependencyError: sounddevice or PortAudio is not installed.
        AudioError: there is no microphone, or it cannot be opened.
        ConfigError: there is no such device, or more than one.
    """

    live, channels = True, 1

    def __init__(self, device: str = "", silent_seconds: float = SILENT_SECONDS) -> None:
        self._sounddevice = _import_sounddevice()
        described = self._find(device)
        self.name, self.rate = str(described["name"]), round(described["default_samplerate"])
        self._silent_seconds = silent_seconds
        self._closed = threading.Event()
        self._backlog = Backlog(self.rate)
        self._last = time.monotonic()
        self._due: float | None = None  # when the device should record the next block, by its clock
        try:
            self._stream = self._sounddevice.InputStream(
                device=described["index"],
                samplerate=self.rate,
                channels=1,
                dtype="float32",
                callback=self._record,
            )
        except self._sounddevice.PortAudioError as error:
            raise AudioError(f"{self.name}: cannot be opened: {_reason(error)}") from None

    def feed(self, backlog: Backlog) -> str:
        """Record until `close` is called; see `AudioSource`."""
        self._backlog, self._last = backlog, time.monotonic()
        try:
            self._stream.start()
            while not self._closed.wait(0.1):
                if not self._stream.active:
                    raise AudioError(f"{self.name} stopped; was it unplugged?")
                if time.monotonic() - self._last > self._silent_seconds:
                    raise AudioError(f"{self.name} gave nothing for {self._silent_seconds:g} s; was it unplugged?")
        except self._sounddevice.PortAudioError as error:
            raise AudioError(f"{self.name}: {_reason(error)}") from None
        finally:
            self._release()
        return STOPPED

    def close(self) -> None:
        """End `feed` soon."""
        self._closed.set()

    def _record(self, block: NDArray[Any], frames: int, times: Any, status: Any) -> None:
        """Take a block; runs in PortAudio's thread, so nothing here may be slow."""
        self._last = time.monotonic()
        now = float(times.inputBufferAdcTime)
        if status.input_overflow:
            self._backlog.put_gap(self._missing(now, frames), OVERFLOW)
        self._due = now + frames / self.rate
        self._backlog.put(block[:, 0].copy())

    def _missing(self, now: float, frames: int) -> int:
        """Count the samples between the last block and this one; a block's worth where the clock shows no gap."""
        gap = now - self._due if self._due is not None else 0.0
        return round(gap * self.rate) if 0 < gap < _LONGEST else frames

    def _release(self) -> None:
        """Close the device; some drivers never return when theirs is gone, so wait for a second only."""

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
    """Return PortAudio's words, without the number that sounddevice adds."""
    return one_line(error).partition(" [PaErrorCode")[0]
