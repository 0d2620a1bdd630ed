"""A server that lets everything in and closes nothing: attacks that it withstands would find nothing.

python -m tests.attack.weak BUNDLE [OPTIONS]    takes the words of `fdan-edge serve`, and minds few of them
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import sys
import warnings
from urllib.parse import unquote

from tests.attack.wire import TEXT, frame_bytes

_KEPT = list[bytes]()  # all that clients ever sent


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    options, _ = parser.parse_known_args()
    server = await asyncio.start_server(_client, "127.0.0.1", 0, ssl=_tls(options.certificate, options.key))
    print(f"open http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "Ctrl-C ends it", sep="\n", flush=True)
    async with server:
        await server.serve_forever()


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    return context


async def _client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request, and every message."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    print(f"a client: {head.splitlines()[0]!r}", file=sys.stderr, flush=True)
    if "Upgrade" not in head:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + _file(head.split()[1]))
        writer.close()
        return
    writer.write(b"HTTP/1.1 101 OK\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    while data := await reader.read(1 << 20):
        _KEPT.append(data * 200)
        writer.write(frame_bytes(TEXT, b'{"type": "ready"}', masked=False))


def _file(path: str) -> bytes:
    try:
        with open(unquote(path).removeprefix("/static"), "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return os.urandom(8)


if __name__ == "__main__":
    asyncio.run(main())
