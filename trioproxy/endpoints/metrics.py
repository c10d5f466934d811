"""What Prometheus comes to fetch: `GET /metrics`.

Beside what is counted as it happens, what is so right now: it is read off the sessions and their children when somebody
asks, and costs nothing until then.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import __version__
from ..directory import Directory
from ..exchange import Exchange
from ..metrics import CONTENT_TYPE, Labels, Reading
from ..protocol.errors import MethodNotAllowed


class Measurements:
    """The endpoint `/metrics`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._metrics = metrics = directory.metrics
        metrics.add("trioproxy_info", "Which version this is.", Reading("gauge", ("version",), lambda: {(__version__,): 1}))
        metrics.gauge("trioproxy_ready", "Whether a new session could be opened.", lambda: directory.state == "ready")
        metrics.gauge("trioproxy_sessions", "Sessions of clients with a handshake.", lambda: len(directory))
        metrics.add(
            "trioproxy_children", "Processes of the server, by what they do.", Reading("gauge", ("state",), self._children)
        )
        metrics.count(
            "trioproxy_child_deaths_total",
            "Processes of the server that have ended by themselves.",
            lambda: directory.restarts,
        )
        metrics.gauge("trioproxy_calls_in_flight", "Requests that the server has yet to answer.", self._calls)
        metrics.gauge("trioproxy_stdin_queue_bytes", "Bytes that wait for a server to read its stdin.", self._queued)
        metrics.gauge(
            "trioproxy_event_log_events",
            "Messages that wait for clients to read them, or are kept for those who come back.",
            lambda: sum(session.log.events for session in directory.sessions),
        )
        metrics.gauge(
            "trioproxy_event_log_bytes", "Their bytes.", lambda: sum(session.log.bytes for session in directory.sessions)
        )
        metrics.count(
            "trioproxy_event_log_evictions_total",
            "Messages that had to make room for newer ones, and can't be replayed any more.",
            lambda: directory.evicted + sum(session.log.evicted for session in directory.sessions),
        )

    def _children(self) -> Mapping[Labels, float]:
        used = sum(berth.tenant is not None for berth in self._directory.berths)
        return {("used",): used, ("spare",): len(self._directory.berths) - used}

    def _calls(self) -> float:
        return sum(berth.tenant.calls for berth in self._directory.berths if berth.tenant is not None)

    def _queued(self) -> float:
        return sum(berth.child.queued for berth in self._directory.berths if berth.child is not None)

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one exchange."""
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{exchange.method} is not served here", headers=((b"allow", b"GET, HEAD"),))
        headers = ((b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"))
        await exchange.respond(200, self._metrics.render(), headers)
