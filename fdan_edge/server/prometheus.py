"""Count clients, sound, results and latency for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from typing_extensions import assert_never

from fdan_edge.server.protocol import GOING_AWAY, NORMAL, TRY_LATER
from fdan_edge.streaming.events import Ended, Event, InputWarning, Lost, Result, Segment, Silence, Speech

_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # s


class ServerMetrics:
    """The counts of one server, in a registry of its own."""

    #: Content type of `text`.
    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._registry = all_ = CollectorRegistry()
        self.clients = Gauge("fdan_edge_clients", "Clients that are heard now.", registry=all_)
        self._started = Counter("fdan_edge_clients_started", "Clients that were heard.", registry=all_)
        self._refused = Counter("fdan_edge_clients_refused", "Clients beyond the limit.", registry=all_)
        self._errors = Counter(
            "fdan_edge_errors", "Clients that were closed for an error, by code.", ["code"], registry=all_
        )
        self._cut = Counter(
            "fdan_edge_connections_cut", "Connections that were cut off, by reason.", ["reason"], registry=all_
        )
        self._heard = Counter("fdan_edge_heard_seconds", "Sound that was heard.", registry=all_)
        self._lost = Counter("fdan_edge_lost_seconds", "Sound that was dropped.", registry=all_)
        self._warnings = Counter(
            "fdan_edge_input_warnings", "Faults of the sound, by problem.", ["problem"], registry=all_
        )
        self._results = Counter("fdan_edge_results", "Results by label.", ["label"], registry=all_)
        self._latency = Histogram(
            "fdan_edge_result_latency_seconds",
            "From the arrival of the last sample to the result.",
            buckets=_BUCKETS,
            registry=all_,
        )

    def client_started(self) -> None:
        """Count a client that begins to stream."""
        self._started.inc()
        self.clients.inc()

    def client_closed(self, code: int) -> None:
        """Count a connection that the server closed with `code`."""
        if code == TRY_LATER:
            self._refused.inc()
        elif code not in (NORMAL, GOING_AWAY):
            self._errors.labels(str(code)).inc()

    def connection_cut(self, reason: str) -> None:
        """Count a connection that was cut off, by a reason of `fdan_edge.server.guests`."""
        self._cut.labels(reason).inc()

    def record(self, seconds: float, events: Iterable[Event]) -> None:
        """Count processed sound and its events; for any thread."""
        self._heard.inc(seconds)
        for event in events:
            self._count(event)

    def _count(self, event: Event) -> None:
        match event:
            case Lost():
                self._lost.inc(event.seconds)
            case Result():
                self._results.labels(event.label).inc()
                if event.latency is not None:
                    self._latency.observe(event.latency)
            case InputWarning():
                self._warnings.labels(event.problem).inc()
            case Speech() | Segment() | Silence() | Ended():
                pass
            case _:
                assert_never(event)

    def text(self) -> bytes:
        """Return all counts, as Prometheus reads them."""
        return generate_latest(self._registry)
