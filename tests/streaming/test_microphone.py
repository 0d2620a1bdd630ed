"""The microphone, with a stand-in for sounddevice: no sound card is needed."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fdan_edge.errors import AudioError, ConfigError, MissingDependencyError
from fdan_edge.streaming.backlog import Backlog, Gap, Sound
from fdan_edge.streaming.microphone import OVERFLOW, Microphone, input_devices
from fdan_edge.streaming.sources import STOPPED

RATE = 48_000
HDMI = {"name": "HDMI", "index": 0, "max_input_channels": 0, "default_samplerate": 44_100.0}
USB = {"name": "USB [x]", "index": 1, "max_input_channels": 2, "default_samplerate": float(RATE)}


class PortAudioError(Exception):
    pass


class InputStream:
    """Gives what `play` says, in PortAudio's way, on a thread of its own."""

    play: Callable[[InputStream], None] = staticmethod(lambda _: None)
    fails = ""

    def __init__(self, **options: Any) -> None:
        if self.fails == "open":
            raise PortAudioError("Error opening InputStream: Device unavailable [PaErrorCode -9985]")
        self.options, self.active, self.closed = options, False, False
        self.clock = 100.0

    def start(self) -> None:
        if self.fails == "start":
            raise PortAudioError("Error starting stream: Unanticipated host error [PaErrorCode -9999]")
        self.active = True
        threading.Thread(target=type(self).play, args=(self,), daemon=True).start()

    def give(self, count: int, value: float = 0.5, *, overflow: bool = False, after: float = 0.0) -> None:
        self.clock += after
        block = np.full((count, 1), value, np.float32)
        times, status = SimpleNamespace(inputBufferAdcTime=self.clock), SimpleNamespace(input_overflow=overflow)
        self.options["callback"](block, count, times, status)
        block[:] = 9  # PortAudio uses its memory again
        self.clock += count / RATE

    def abort(self) -> None:
        if self.fails == "close":
            raise PortAudioError("gone")
        self.active = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    every = [HDMI, USB]

    def query_devices(device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return every
        found = [one for one in every if one["max_input_channels"]]
        if not found:
            raise PortAudioError("Error querying device -1")
        if isinstance(device, str) and device not in str(found[0]["name"]):
            raise ValueError(f"No input device matching {device!r}")
        if device == 0:
            raise ValueError("Not an input device: 'HDMI'")
        return found[0]

    class Stream(InputStream):
        pass

    module = SimpleNamespace(
        query_devices=query_devices,
        every=every,
        default=SimpleNamespace(device=[1, 0]),
        InputStream=Stream,
        PortAudioError=PortAudioError,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_devices_that_record_are_named(stand_in: SimpleNamespace) -> None:
    assert input_devices() == [(1, "USB [x]", True)]
    stand_in.every.clear()
    assert input_devices() == []


def test_what_is_said_is_heard(stand_in: SimpleNamespace) -> None:
    backlog = Backlog(RATE)

    opened = []

    def play(stream: InputStream) -> None:
        opened.append(stream)
        stream.give(480, 0.25)
        stream.give(480, -0.5)
        microphone_.close()

    stand_in.InputStream.play = staticmethod(play)
    microphone_ = Microphone("USB")
    assert (microphone_.name, microphone_.rate, microphone_.live) == ("USB [x]", RATE, True)
    assert microphone_.feed(backlog) == STOPPED
    first, second = backlog.take(), backlog.take()
    assert isinstance(first, Sound)
    assert isinstance(second, Sound)
    assert (first.samples.shape, second.samples.shape) == ((480,), (480,))
    assert (set(first.samples.tolist()), set(second.samples.tolist())) == ({0.25}, {-0.5})
    (stream,) = opened
    assert stream.closed
    assert stream.options["samplerate"] == RATE
    assert stream.options["device"] == 1


def test_what_the_system_drops_is_a_hole_of_its_length(stand_in: SimpleNamespace) -> None:
    backlog = Backlog(RATE)

    def play(stream: InputStream) -> None:
        stream.give(480)
        stream.give(480, overflow=True, after=0.25)
        stream.give(480, overflow=True)  # the clock shows no gap
        microphone_.close()

    stand_in.InputStream.play = staticmethod(play)
    microphone_ = Microphone()
    microphone_.feed(backlog)
    pieces = [backlog.take() for _ in range(5)]
    assert [type(piece) for piece in pieces] == [Sound, Gap, Sound, Gap, Sound]
    assert (pieces[1], pieces[3]) == (Gap(RATE // 4, OVERFLOW), Gap(480, OVERFLOW))


def unplugged(stream: InputStream) -> None:
    stream.give(480)
    stream.active = False


@pytest.mark.parametrize(
    ("play", "message"),
    [(unplugged, r"USB \[x\] stopped; was it unplugged\?"), (lambda _: None, "gave nothing for 0.3 s; was it")],
)
@pytest.mark.parametrize("fails", ["", "close"])
def test_a_device_that_goes_ends_it(stand_in: SimpleNamespace, play: Any, message: str, fails: str) -> None:
    stand_in.InputStream.play, stand_in.InputStream.fails = staticmethod(play), fails
    with pytest.raises(AudioError, match=message):
        Microphone(silent_seconds=0.3).feed(Backlog(RATE))


def test_a_driver_that_never_returns_does_not_hold_us(
    stand_in: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.InputStream.play = staticmethod(unplugged)
    monkeypatch.setattr(stand_in.InputStream, "abort", lambda _: threading.Event().wait(30))
    with pytest.raises(AudioError, match="unplugged"):
        Microphone().feed(Backlog(RATE))


def test_devices_that_cannot_be_had(stand_in: SimpleNamespace) -> None:
    with pytest.raises(ConfigError, match="device 'Foo' cannot record; fdan-edge stream --list-devices"):
        Microphone("Foo")
    with pytest.raises(ConfigError, match="device '0' cannot record"):
        Microphone("0")
    stand_in.InputStream.fails = "open"
    with pytest.raises(AudioError, match=r"USB \[x\]: cannot be opened: Error opening InputStream: Device unavai"):
        Microphone()
    stand_in.InputStream.fails = "start"
    with pytest.raises(AudioError, match=r"Error starting stream: Unanticipated host error$"):
        Microphone().feed(Backlog(RATE))
    stand_in.every.clear()
    with pytest.raises(AudioError, match="no microphone on this machine; name a sound file, or pipe sound"):
        Microphone()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("no"), "needs sounddevice, which is not installed: pip install sounddevice"),
        (OSError("PortAudio library not found"), "needs PortAudio, .*: apt install libportaudio2"),
    ],
)
def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    real = builtins.__import__

    def fails(name: str, *rest: Any) -> Any:
        if name == "sounddevice":
            raise error
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(MissingDependencyError, match=message):
        input_devices()
