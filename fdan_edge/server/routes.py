"""Build the application: routes and headers."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from fdan_edge.server.access import Access, bearer
from fdan_edge.server.connection import TRIED_OFTEN, serve_client
from fdan_edge.server.hub import Hub

STATIC = Path(__file__).parent / "static"

_HEADERS = {
    # The page is all there is: no other scripts, none inline. blob: is the file that a person plays.
    "Content-Security-Policy": "default-src 'self'; media-src blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",  # kept, but asked for again: another version's page is never mixed in
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_app(hub: Hub) -> ASGIApp:
    """Build the application.

    GET /           the page; /static its files
    GET /card       the content of `ready`, and the model's card as `text`; with the token where one is needed
    GET /health     {"status": "ok" or "full", ...}, or 503 and "stopping"; full is no illness
    GET /metrics    for Prometheus; with the token where one is needed (Authorization: Bearer TOKEN)
    WS  /ws         as `fdan_edge.server.protocol` says
    """

    async def page(_: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def card(request: Request) -> Response:
        return await _refusal(request, hub) or JSONResponse({**hub.about, "text": hub.card})

    async def metrics(request: Request) -> Response:
        if refusal := await _refusal(request, hub):
            return refusal
        return Response(hub.metrics.text(), headers={"Content-Type": hub.metrics.CONTENT_TYPE})

    async def health(_: Request) -> Response:
        return _health(hub)

    async def listen(websocket: WebSocket) -> None:
        await serve_client(websocket, hub)

    routes = [
        Route("/", page),
        Route("/card", card),
        Route("/health", health),
        Route("/metrics", metrics),
        WebSocketRoute("/ws", listen),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return _Guard(Starlette(routes=routes), hub.access)


def _health(hub: Hub) -> Response:
    full = hub.client_count >= hub.limits.clients
    status = "stopping" if hub.stopping else "full" if full else "ok"
    values = {"status": status, "clients": hub.client_count, "limit": hub.limits.clients}
    return JSONResponse(values, status_code=503 if hub.stopping else 200)


async def _refusal(request: Request, hub: Hub) -> Response | None:
    """Refuse a request without the token; None where it may pass."""
    address = request.client.host if request.client else ""
    try:
        if await hub.accepts(bearer(request.headers), address, request.state.guest):
            return None
    except TimeoutError:
        return PlainTextResponse(f"{TRIED_OFTEN}\n", 429, {"Retry-After": "5"})
    headers = {"WWW-Authenticate": "Bearer"}
    return PlainTextResponse("this needs the token: Authorization: Bearer TOKEN\n", 401, headers)


class _Guard:
    """Refuses other hosts and the pages of other origins; adds the headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        app = self._app
        if not self._access.knows_host(headers):
            app = PlainTextResponse("this server is not called so; --origin names a page of another host\n", 421)
        elif scope["type"] == "websocket" and not self._access.knows_origin(headers):
            app = PlainTextResponse("no page of this server; --origin lets others in\n", 403)
        await app(scope, receive, send_with_headers)
