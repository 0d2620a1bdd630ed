"""The verb that shows a live stream in a browser: serve."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from fdan_edge.cli.model_choice import one_model
from fdan_edge.cli.options import (
    Hop,
    ModelName,
    Precision,
    Runtime,
    Threads,
    Unknown,
    VoiceActivity,
    needs_packages,
)
from fdan_edge.errors import INSTALL_SERVE, ConfigError


def serve(
    bundle: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="BUNDLE",
            help="A bundle, an .onnx file, a run folder, or a name of `fdan-edge models`.",
            show_default=False,
        ),
    ] = None,
    model: ModelName = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; what others reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0: any that is free.")] = 8765,
    token: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="TOKEN",
            help="Who connects must know it; the list of processes shows it.",
            show_default="$FDAN_EDGE_TOKEN, or made",
        ),
    ] = None,
    token_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Holds the token; nothing shows it."),
    ] = None,
    certificate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="PEM, for https: other machines' microphones need it."),
    ] = None,
    key: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Of --certificate, PEM.")] = None,  # noqa: UP045
    clients: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Heard at once.")] = 16,
    origin: Annotated[
        list[str], typer.Option("--origin", metavar="URL", help="Another page that may connect; repeat for more.")
    ] = [],  # noqa: B006
    runtime: Runtime = None,
    precision: Precision = None,
    vad: VoiceActivity = "auto",
    hop: Hop = 0.25,
    unknown: Unknown = None,
    threads: Threads = 1,
) -> None:
    """Show emotions live in a browser: its microphone in, a page with probabilities and a timeline out.

    Sound stays on the machines that you connect: the page loads nothing from elsewhere, and nothing is kept.
    """
    needs_packages(("starlette", "uvicorn", "websockets", "prometheus_client"), "serve", INSTALL_SERVE)
    from fdan_edge.runtime.included import introduce
    from fdan_edge.runtime.opening import open_stream_runner
    from fdan_edge.server.access import VARIABLE, make_access, read_token
    from fdan_edge.server.limits import Limits
    from fdan_edge.server.server import Address, make_hub, make_server, open_socket, startup_lines
    from fdan_edge.streaming.settings import StreamSettings

    if token is not None and token_file:
        raise ConfigError("--token and --token-file: give one of them")
    token = read_token(token_file) if token_file else token
    settings = StreamSettings(hop=hop, vad=vad, unknown_below=unknown)
    chosen = one_model(bundle, model)
    address, allowed = Address(host, port, certificate, key), make_access(host, token, origin)
    introduce(chosen)
    with (
        open_socket(address) as listening,
        open_stream_runner(chosen, threads, artifact=precision, runtime=runtime) as runner,
    ):
        hub = make_hub(chosen, runner, settings, allowed, Limits(clients=clients))
        new_token = token is None and VARIABLE not in os.environ
        for line in startup_lines(hub, address, listening.getsockname()[1], new_token=new_token):
            typer.echo(line)
        _collect_garbage_as_usual()
        make_server(hub, address).run([listening])
    typer.echo("ended")


def _collect_garbage_as_usual() -> None:
    """Look for garbage as often as Python does by default: `cli.main` makes that rare, and a server runs on.

    What is there already stays, so the collector need not look at it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 10)
