"""The page in a real browser: headless Chromium, with a recorded voice as its microphone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers.serving import ABOUT, FakeStream, Running, running

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from browser import Page, browser, chromium

from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice
from fdan_edge.runtime.opening import open_runner
from fdan_edge.server.access import Access, make_access
from fdan_edge.server.limits import Limits
from fdan_edge.server.server import make_hub
from fdan_edge.streaming.events import Event, InputWarning, Result, Segment
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.utils.markdown import escaped

#: Set by CI: there a missing browser is a failure.
REQUIRED = os.environ.get("FDAN_EDGE_REQUIRE_CHROMIUM", "0") not in ("", "0")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (chromium() or REQUIRED), reason="no chromium on PATH"),
]

READY = "document.querySelector('#listen')?.disabled === false"
STATE = "document.querySelector('#state').textContent"
SEGMENTS = "document.querySelector('#segments').rows.length"
TOKEN = "abcdefghijklmnop"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A voice of some seconds, then a pause of 2 s."""
    spoken = np.concatenate([voice("angry", 1, 0), voice("sad", 1, 1)])
    path = tmp_path / "voice.wav"
    soundfile.write(path, np.concatenate([spoken, np.zeros(2 * SAMPLE_RATE, np.float32)]), SAMPLE_RATE)
    return path


@pytest.fixture
def page(tmp_path: Path, recording: Path) -> Iterator[Page]:
    fake = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={recording}")
    with browser(tmp_path / "profile", *fake) as opened:
        yield opened


def open_page(page: Page, run: Running, rest: str = "/") -> None:
    page.open(run.url + rest)
    page.wait(READY)


def test_a_voice_through_the_microphone(page: Page, bundle_folder: Path) -> None:
    """Real engine, real model: a label, a segment, the figures, the card; and Stop."""
    with open_runner(bundle_folder, 1) as runner:
        settings = StreamSettings(vad="energy", unknown_below=0.0)
        hub = make_hub(bundle_folder, runner, settings, make_access("127.0.0.1", None, []), Limits())
        with running(hub.stream, about=hub.about, card=hub.card) as run:
            open_page(page, run)
            assert "Limits" in page.evaluate("document.querySelector('#card').textContent")
            page.press("#listen")
            page.wait(f"{STATE} === 'listening: microphone'")
            labels = page.evaluate("[...document.querySelectorAll('#bars .meter')].map(m => m.ariaLabel)")
            assert labels == list(runner.spec.labels)
            page.wait(f"{labels}.includes(document.querySelector('#label').textContent)")
            page.wait(f"{SEGMENTS} > 0 && document.querySelectorAll('#timeline .run').length > 0", 120)
            assert page.text("#said").split(",")[0] in labels
            assert "median" in page.text("#latency")
            assert "median" in page.text("#round-trip")
            page.press("#listen")
            page.wait(f"{STATE} === 'not listening'")
            page.wait("document.querySelector('#listen').textContent === 'Start listening'")
            head, *rows = saved(page).splitlines()
            assert head == ",".join(["start", "end", "label", "confidence", *labels])
            assert len(rows) == page.evaluate(SEGMENTS)
            for row in rows:
                start, end, label, *numbers = row.split(",")
                assert float(start) < float(end)
                assert label in labels
                assert sum(map(float, numbers[1:])) == pytest.approx(1, abs=0.01)
    assert page.errors == []


def saved(page: Page) -> str:
    """What Save as CSV saves."""
    keep = "blob => { window.kept = blob; return make(blob); }"
    page.evaluate(f"{{ const make = URL.createObjectURL.bind(URL); URL.createObjectURL = {keep}; }}")
    page.press("#save")
    return str(page.wait("window.kept?.text()"))


def test_a_file(page: Page, recording: Path) -> None:
    with running() as run:
        open_page(page, run)
        page.pick("#picked", recording)
        page.wait(f"{STATE} === 'listening: voice.wav'")
        page.wait("document.querySelector('#label').textContent === 'angry'")
        page.wait(f"{STATE} === 'not listening'", 120)  # at its end, by itself
        page.wait(f"!{STATE}.includes('opening')")
        assert run.hub.metrics.text().count(b"fdan_edge_lost_seconds_total 0.0") == 1
    assert page.errors == []


def test_a_warning_of_the_sound(page: Page) -> None:
    """Told by the stream, in words for a person."""

    class Clipped(FakeStream):
        def push(self, samples: np.ndarray) -> list[Event]:
            return [*super().push(samples), *([InputWarning(self.time, "clipped", 0.031)] if len(samples) else [])]

    with running(Clipped) as run:
        open_page(page, run)
        assert page.evaluate("document.querySelector('#warning').hidden") is True
        page.press("#listen")
        page.wait("document.querySelector('#warning').hidden === false")
        assert "clipped: 3.1 % of the samples" in page.text("#warning")
    assert page.errors == []


def test_a_file_that_is_no_sound(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    with running() as run:
        open_page(page, run)
        page.pick("#picked", tmp_path / "text.wav")
        page.wait("document.querySelector('#trouble-text').textContent.includes('no sound that this browser')")


def test_the_token_of_the_address_is_used_and_hidden(page: Page) -> None:
    with running(access=Access(TOKEN)) as run:
        page.open(run.url)
        page.wait("document.querySelector('#token-form')?.hidden === false")
        open_page(page, run, f"/#token={TOKEN}")
        assert TOKEN not in page.evaluate("location.href")
        page.press("#listen")
        page.wait(f"{STATE} === 'listening: microphone'")


def test_a_full_server_and_one_that_is_gone_are_said(page: Page) -> None:
    with running(limits=Limits(clients=0)) as run:
        open_page(page, run)
        page.press("#listen")
        page.wait("document.querySelector('#trouble-text').textContent.includes('this server hears 0 at once')")
        assert page.evaluate("document.querySelector('#again').hidden") is False
    page.wait("document.querySelector('#trouble-text').textContent.includes('The server does not answer')")


def test_a_server_that_comes_back_is_found_again(page: Page) -> None:
    with running() as run:
        open_page(page, run)
        page.press("#listen")
        page.wait("document.querySelector('#label').textContent === 'angry'")
    page.wait(f"{STATE} === 'not connected'")
    with running(port=run.port):
        page.wait(f"{STATE} === 'listening: microphone'")
        page.wait("document.querySelector('#label').textContent === 'angry'")
        assert page.evaluate("document.querySelector('#trouble').hidden") is True
        page.wait("document.querySelector('#lost').textContent !== '0 s'")
        page.wait("document.querySelectorAll('#timeline .lost').length === 1")


def test_no_microphone(tmp_path: Path) -> None:
    """Without --use-fake-device there is none on a machine without a sound card; a refusal looks the same here."""
    with browser(tmp_path / "profile", "--deny-permission-prompts") as page, running() as run:
        open_page(page, run)
        page.evaluate(
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError') }"
        )
        page.press("#listen")
        page.wait("document.querySelector('#trouble-text').textContent.includes('has no microphone')")
        assert page.evaluate(STATE) == "not listening"


def test_names_of_strangers_are_text(page: Page, recording: Path, tmp_path: Path) -> None:
    """Labels, the model's name, its card and the name of a file, with HTML and scripts in them."""
    bad = '<img src=x onerror="window.reached=1"><script>window.reached=1</script>'
    labels = [bad, "</svg><svg onload=window.reached=1>", "__proto__", "\u202eangry"]
    lines = [f"# {bad}", f"| {bad} |", "|---|", f"| `{bad}` |", f"- {bad}", "```", bad, "```", "[a](javascript:b)"]
    words = "[a] <b> & `c` \\d mobilenet_v2"
    lines += ["", f"| {escaped(bad + '|`*')} | `a\\|b` |", "|---|---|", "", escaped(words)]

    class Named(FakeStream):
        def push(self, samples: np.ndarray) -> list[Event]:
            start, told = self.time, super().push(samples)
            p = dict.fromkeys(labels, 0.25)
            return (
                [Result(self.time, start, bad, 0.25, p, p), Segment(start, self.time, bad, 0.25, p)]
                if told
                else []
            )

    named = tmp_path / "<svg onload=window.reached=1>.wav"
    recording.rename(named)
    about = {**ABOUT, "labels": labels, "model": bad, "runtime": bad}
    with running(Named, about=about, card="\n".join(lines)) as run:
        open_page(page, run)
        page.pick("#picked", named)
        page.wait(f"{STATE}.startsWith('listening')")
        page.wait(f"{SEGMENTS} > 0 && document.querySelectorAll('#timeline .run').length > 0")
        for selector in ("#label", "#model", "#card", "#segments", "#bars", "#timeline"):
            assert bad in page.evaluate(f"document.querySelector('{selector}').textContent"), selector
        card = page.evaluate("document.querySelector('#card').textContent")
        assert bad + "|`*" in card
        assert "a|b" in card
        assert words in card
        assert page.evaluate(STATE) == f"listening: {named.name}"
        assert bad.replace('"', '""') in saved(page)
        assert (
            page.evaluate("document.querySelectorAll('img, script:not([src]), a, [onload], [onerror]').length")
            == 0
        )
        assert page.evaluate("window.reached ?? null") is None
    assert page.errors == []


def test_a_phone_and_many_labels(page: Page) -> None:
    """Nothing is wider than the narrowest phone, and every button is large enough for a thumb."""
    labels = [f"emotion {number}" for number in range(15)]
    with running(FakeStream, about={**ABOUT, "labels": [*labels, "angry"]}) as run:
        page.look(320, 640, phone=True)
        open_page(page, run)
        page.press("#listen")
        page.wait("document.querySelector('#label').textContent === 'angry'")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        sizes = page.evaluate(
            "[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect())"
            ".filter(r => r.width).map(r => Math.min(r.width, r.height))"
        )
        assert min(sizes) >= 44
        fills = page.evaluate("[...document.querySelectorAll('#patterns pattern')].map(p => p.innerHTML)")
        assert len(fills) == len(set(fills)) == 17  # and unknown
