"""Attacks on who may connect: tokens, names of hosts, origins of pages, paths of files."""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path

from tests.attack.attack import attack, check
from tests.attack.place import TOKEN, Place
from tests.attack.served import Served
from tests.attack.wire import Wire, streaming

_GUESSES = 20.0  # a second, at most: a token of 16 characters then lasts for ages


@attack("nobody is let in", quick=True)
def wrong_tokens(place: Place) -> str:
    """Ask for card, metrics and a stream without the token, with parts of it, and in other places."""
    served = place.shared(token=True)
    token = served.token
    wrong = ["", token[:-1], f"{token}x", token.upper(), "\\u0000" + token]
    basic = base64.b64encode(f"a:{token}".encode()).decode()
    headers = [f"Authorization: Bearer {word}" for word in wrong]
    headers += [f"Authorization: Basic {basic}", f"Authorization: {token}", f"Cookie: token={token}"]
    asked = [(path, header) for path in ("/card", "/metrics") for header in headers]
    asked += [(f"/card?token={token}", "X: y"), (f"/metrics#{token}", "X: y")]
    inside = [f"{path} {header}" for path, header in asked if _status(served, path, header) == 200]
    inside += [f"stream {word!r}" for word in wrong if _streams(served, word)]
    check(_streams(served, token), "the right token is refused")
    return check(not inside, f"{len(asked) + len(wrong)} tries, {len(inside)} let in {' '.join(inside[:1])}")


@attack("status 421", quick=True)
def other_hosts(place: Place) -> str:
    """Ask by the names of other hosts, as a page does whose owner points a name of theirs here."""
    served = place.shared()
    names = ["evil.example", "127.0.0.1.evil.example", "localhost.", "evil@127.0.0.1", "", "[::ffff:127.0.0.1]x"]
    answers = {name: _host_status(served, name) for name in names}
    wrong = [name for name, status in answers.items() if status in (101, 200)]
    return check(not wrong, f"{2 * len(names)} tries, answered: {wrong or 'none'}")


@attack("status 403", quick=True)
def other_origins(place: Place) -> str:
    """Open a WebSocket from the pages of other sites."""
    served, own = place.shared(), f"http://127.0.0.1:{place.shared().port}"
    origins = ["http://evil.example", "null", f"{own}.evil.example", "http://127.0.0.1:1", f"{own}@evil.example"]
    origins += ["file://", "http://[::1", f"https://127.0.0.1:{served.port + 1}", ""]
    wrong = []
    for origin in origins:
        with Wire(served.port) as wire:
            if wire.upgrade(f"Origin: {origin}") == 101:
                wrong.append(origin)
    return check(not wrong, f"{len(origins)} origins, let in: {wrong or 'none'}")


@attack("no file but the page's own", quick=True)
def paths_of_other_files(place: Place) -> str:
    """Ask for files outside of the page's folder, in every spelling of the way up."""
    served = place.shared()
    ways = ["..", "%2e%2e", "..%2f..", "....//", "%252e%252e", "..\\\\..", "%c0%ae%c0%ae"]
    paths = [f"/static/{'/'.join([way] * depth)}/etc/passwd" for way in ways for depth in (1, 4, 9)]
    paths += [
        "/static//etc/passwd",
        "//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/../routes.py",
        "/../server.py",
    ]
    paths += ["/static/app.js%00.html", "/static/" + "a" * 5000, "/static/\x01", "file:///etc/passwd"]
    wrong = [path for path in paths if _leaks(served, path)]
    return check(not wrong, f"{len(paths)} paths, given away: {wrong or 'none'}")


@attack(f"at most {_GUESSES:g} answers a second; the right one within 5 s")
def guessed_tokens(place: Place) -> str:
    """Guess tokens from 16 connections at once."""
    served, guesses, stop = place.shared(token=True), [0] * 16, threading.Event()

    def guess(number: int) -> None:
        while not stop.is_set():
            try:
                with Wire(served.port) as wire:
                    wire.upgrade()
                    wire.start(token=f"guess-number-{number}-{guesses[number]}")
                    guesses[number] += 1
            except OSError:
                stop.wait(0.05)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(len(guesses))]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(place.seconds)
    asked = time.monotonic()
    let_in = _streams(served, served.token)
    now = time.monotonic()
    took, rate = (
        now - asked,
        sum(guesses) / (now - begun),
    )  # guesses go on while it waits
    stop.set()
    for thread in threads:
        thread.join()
    measured = f"{rate:.0f} guesses a second; the right token {'' if let_in else 'not '}let in after {took:.1f} s"
    return check(let_in and took <= 5 and rate <= _GUESSES, measured)


@attack("in no command line, nor in a variable where it is in a file")
def token_in_the_list_of_processes(place: Place) -> str:
    """Look for the token in the command lines of all processes, as any user of the machine can."""
    file = place.folder / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    showing, looked = [], 0
    for name, started in {"cmdline": place.serve(token=True), "*": place.serve("--token-file", str(file))}.items():
        with started as served:
            paths = [*Path("/proc").glob("[0-9]*/cmdline"), *Path(f"/proc/{served.process.pid}").glob("environ")]
            texts = {path: _read(path) for path in paths if name == "*" or path.name == name}
            looked += len(texts)
            showing += [path for path, text in texts.items() if TOKEN in text]
            check(_status(served, "/card", f"Authorization: Bearer {TOKEN}") == 200, "the token is not taken")
    return check(not showing, f"{looked} texts, {len(showing)} show it")


def _status(served: Served, path: str, header: str) -> int:
    with Wire(served.port) as wire:
        return wire.request(path, header)


def _streams(served: Served, token: str) -> bool:
    try:
        with streaming(served.port, token):
            return True
    except OSError:
        return False


def _host_status(served: Served, name: str) -> int:
    with Wire(served.port) as wire, Wire(served.port) as socket:
        return max((wire.request("/health", host=name), socket.upgrade(host=name)), key=lambda s: s in (101, 200))


def _leaks(served: Served, path: str) -> bool:
    with Wire(served.port, timeout=2) as wire:
        if wire.request(path, "Connection: close") != 200:
            return False
        body = wire.body()
    return b"root:" in body or b"import " in body.partition(b"<")[0]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
