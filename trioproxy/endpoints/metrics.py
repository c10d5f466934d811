"""What Prometheus comes to fetch: `GET /metrics`.

Beside what is counted as it happens, what is so right now: it is read off the sessions and their children when somebody
asks, and costs nothing until then.  Each is said of every server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .. import __version__
from ..directory import Directory
from ..exchange import Exchange
from ..metrics import CONTENT_TYPE, Labels, Reading
from ..protocol.errors import MethodNotAllowed
from ..servers import Servers


class Measurements:
    """The endpoint `/metrics`."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._metrics = metrics = servers.metrics
        metrics.add("trioproxy_info", "Which version this is.", Reading("gauge", ("version",), lambda: {(__version__,): 1}))
        self._gauge("ready", "Whether a new session could be opened.", lambda directory: directory.state == "ready")
        self._gauge("sessions", "Sessions of clients with a handshake.", len)
        metrics.add(
            "trioproxy_children",
            "Servers, most of them processes, by what they do.",
            Reading("gauge", ("server", "state"), self._children),
        )
        self._count("child_deaths_total", "Servers that have ended by themselves.", lambda directory: directory.deaths.count)
        self._gauge("calls_in_flight", "Requests that a server has yet to answer.", _calls)
        self._gauge("stdin_queue_bytes", "Bytes that wait for a server to read them.", _queued)
        self._gauge(
            "event_log_events",
            "Messages that wait for clients to read them, or are kept for those who come back.",
            lambda directory: sum(session.log.events for session in directory.sessions),
        )
        self._gauge(
            "event_log_bytes", "Their bytes.", lambda directory: sum(session.log.bytes for session in directory.sessions)
        )
        self._count(
            "event_log_evictions_total",
            "Messages that had to make room for newer ones, and can't be replayed any more.",
            lambda directory: directory.evicted + sum(session.log.evicted for session in directory.sessions),
        )

    def _gauge(self, name: str, meaning: str, read: Callable[[Directory], float]) -> None:
        self._metrics.add(f"trioproxy_{name}", meaning, Reading("gauge", ("server",), lambda: self._read(read)))

    def _count(self, name: str, meaning: str, read: Callable[[Directory], float]) -> None:
        self._metrics.add(f"trioproxy_{name}", meaning, Reading("counter", ("server",), lambda: self._read(read)))

    def _read(self, read: Callable[[Directory], float]) -> Mapping[Labels, float]:
        """Read something off every server; one that can't be served at the moment has nothing."""
        directories = self._servers.directories
        return {
            (served.name,): read(directories[served.name]) if served.name in directories else 0 for served in self._servers
        }

    def _children(self) -> Mapping[Labels, float]:
        found: dict[Labels, float] = {}
        for name, directory in self._servers.directories.items():
            used = sum(berth.tenant is not None for berth in directory.berths)
            found[name, "used"] = used
            found[name, "spare"] = len(directory.berths) - used
        return found

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one exchange."""
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{exchange.method} is not served here", headers=((b"allow", b"GET, HEAD"),))
        headers = ((b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"))
        await exchange.respond(200, self._metrics.render(), headers)


def _calls(directory: Directory) -> float:
    return sum(berth.tenant.calls for berth in directory.berths if berth.tenant is not None)


def _queued(directory: Directory) -> float:
    return sum(berth.child.queued for berth in directory.berths if berth.child is not None)
