"""Check who may connect: the token, the Host that was asked for, and the Origin of the page that asks.

A page of any site can open a WebSocket to 127.0.0.1, and a name that its owner points there (DNS rebinding) makes
it look like the same site. So Origin must be the host that was asked for, and a server on the loopback answers to
its loopback names only. Programs that are no browsers send no Origin. They are let in, because no page can omit
it; where there is a token, they need it too.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fdan_edge.errors import ConfigError

log = logging.getLogger(__name__)

VARIABLE = "FDAN_EDGE_TOKEN"
_SHORTEST = 16  # characters; what can be guessed is no token
_LONGEST = 1024  # characters; a client's first message has room for it
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Access:
    """The token, hosts and origins that one server accepts."""

    token: str = ""  # empty: none is needed
    hosts: frozenset[str] = frozenset()  # names that it answers to; empty: any
    origins: frozenset[str] = frozenset()  # of other pages than its own

    def knows_host(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request asks for a name of this server."""
        return not self.hosts or _host(headers)[0] in self.hosts

    def knows_origin(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request comes from this server's page, from one of `origins`, or from no page."""
        origin = headers.get("origin")
        if origin is None or origin in self.origins:
            return True
        try:
            parts = urlsplit(origin)
            asking = parts.hostname, parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            return False
        name, port = _host(headers)
        return bool(name) and asking == (name, port or _PORTS[parts.scheme])

    def accepts(self, token: str) -> bool:
        """Return whether this is the token, or none is needed."""
        return not self.token or hmac.compare_digest(_bytes(token), _bytes(self.token))


def bearer(headers: Mapping[str, str]) -> str:
    """Return the token of `Authorization: Bearer TOKEN`; empty where there is none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _bytes(token: str) -> bytes:
    """Encode any text that JSON may hold."""
    return token.encode(errors="surrogatepass")


def make_access(host: str, token: str | None, origins: list[str]) -> Access:
    """Say who may connect to a server on `host`.

    Args:
        host: the address that it binds to.
        token: the token; None: of the environment, else a new one where `host` is not the loopback.
        origins: of other pages that may connect, as https://name[:port].

    Raises:
        ConfigError: the token can be guessed, or one of `origins` is none.
    """
    for origin in origins:
        _check_origin(origin)
    names = frozenset[str]()
    if is_loopback(host):
        own = {urlsplit(origin).hostname or "" for origin in origins}
        names = frozenset({"localhost", "127.0.0.1", "::1", host.strip("[]").lower(), *own})
    token = token if token is not None else os.environ.get(VARIABLE)
    if token is not None:
        _check_token(token)
    new = "" if is_loopback(host) else secrets.token_urlsafe(24)
    return Access(token or new, names, frozenset(origins))


def read_token(path: Path) -> str:
    """Read a token from a file, without the line's end; warn where other users of the machine can read it too.

    Raises:
        ConfigError: it is no file, or not text.
    """
    try:
        if not path.is_file():
            reason = "a folder, a pipe or a device, not a file" if path.exists() else "no such file"
            raise ConfigError(f"--token-file {path}: {reason}")
        with path.open("rb") as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read(_LONGEST + 2)
        token = data.decode("ascii").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"--token-file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--token-file {path}: not ASCII text") from None
    if mode & stat.S_IRWXO:  # not the group: the list of rights of a credential of systemd looks like one
        log.warning("%s: others can read this token; chmod 600 keeps it to you", path)
    return token


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_token(token: str) -> None:
    if not _SHORTEST <= len(token) <= _LONGEST or not all("!" <= c <= "~" for c in token):
        raise ConfigError(
            f"a token has at least {_SHORTEST} and at most {_LONGEST} characters of ASCII without blanks; without "
            f"--token, --token-file and {VARIABLE} one is made where it is needed"
        )


def _check_origin(origin: str) -> None:
    try:
        parts = urlsplit(origin)
        fits = parts.scheme in _PORTS and parts.hostname and f"{parts.scheme}://{parts.netloc}" == origin
        _ = parts.port
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f"--origin {origin!r}: not of the form https://name or https://name:port")


def _host(headers: Mapping[str, str]) -> tuple[str, int | None]:
    """Return name and port that a request asks for."""
    try:
        parts = urlsplit("//" + headers.get("host", ""))
        return "" if "@" in parts.netloc else parts.hostname or "", parts.port
    except ValueError:
        return "", None
