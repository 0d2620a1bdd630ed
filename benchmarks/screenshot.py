"""A picture of the page of `fdan-edge serve` while it listens to recordings.

    python benchmarks/screenshot.py BUNDLE RECORDING... --out serve.png [--dark] [--width 1080] [--height 1000]

The recordings, with pauses between them, are the microphone of a headless Chromium. Needs chromium on PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from browser import Page, browser

from fdan_edge.audio import decode
from fdan_edge.runtime.opening import open_stream_runner
from fdan_edge.server.access import Access
from fdan_edge.server.limits import Limits
from fdan_edge.server.server import Address, make_hub, make_server, open_socket
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.utils.files import write_bytes

_RATE = 48_000  # Hz
_PAUSE = 1.5  # s between recordings
_BEFORE = 1.0  # s until the microphone is listened to, about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("recordings", type=Path, nargs="+", help="played in turn")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1080, help="CSS pixels; below 500 as on a phone")
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--scale", type=float, default=2, help="pixels of the picture for each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        voice = Path(folder) / "voice.wav"
        seconds = join(options.recordings, voice)
        with serving(options.bundle) as address, listening(Path(folder), voice) as page:
            page.look(
                options.width, options.height, dark=options.dark, scale=options.scale, phone=options.width < 500
            )
            page.open(address)
            page.wait("document.querySelector('#listen')?.disabled === false")
            page.press("#listen")
            time.sleep(_BEFORE + seconds)
            page.wait("!!document.querySelector('#swatch rect')")  # while somebody speaks
            page.evaluate("document.activeElement.blur()")
            write_bytes(options.out, page.picture())
            for error in page.errors:
                print(error)


def join(recordings: list[Path], out: Path) -> float:
    """Write recordings one after another; gives the time at which the last one is being heard, in seconds."""
    pause = np.zeros(round(_PAUSE * _RATE), np.float32)
    voices = [decode.load(path, _RATE) for path in recordings]
    parts = [part for voice in voices for part in (pause, voice)]
    soundfile.write(out, np.concatenate([*parts, pause]), _RATE)
    return float(sum(map(len, parts)) - len(voices[-1]) / 2) / _RATE


@contextlib.contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """The address of a server for `bundle`."""
    address = Address(port=0)
    with open_socket(address) as socket, open_stream_runner(bundle, 1) as runner:
        hub = make_hub(bundle, runner, StreamSettings(), Access(), Limits())
        made = make_server(hub, address)
        thread = threading.Thread(target=made.run, args=([socket],), daemon=True)
        thread.start()
        try:
            yield address.url(socket.getsockname()[1])
        finally:
            made.should_exit = True
            thread.join()


@contextlib.contextmanager
def listening(folder: Path, voice: Path) -> Iterator[Page]:
    """A browser whose microphone hears a recording."""
    fake = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={voice}")
    with browser(folder / "profile", *fake) as page:
        yield page


if __name__ == "__main__":
    main()
