"""Other proxies, and the official SDKs' own HTTP servers: how each is fetched, and the command that starts it.

A peer is started as its own documentation says for each transport, with nothing set that need not be.  The versions are
pinned: they are the newest of the day on which the table was made, and a table is about them and no others.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from .npm import fetch_npm, fetch_python

Transport = Literal["http", "sse"]
Source = Literal["npm", "pypi", "here"]

TRANSPORTS: Final[tuple[Transport, ...]] = ("http", "sse")
TITLES: Final = {"http": "Streamable HTTP", "sse": "HTTP with SSE"}
OURS: Final = "trioproxy"
"""The peer with which the others are compared."""
_SDK_SERVERS: Final = Path(__file__).with_name("sdk_servers")


@dataclass(frozen=True)
class Peer:
    """Something that serves MCP over HTTP.

    Args:
      source: where it comes from; `here` is this Python and what is installed with it.
      packages: what is installed, with versions.
      http: the words that start it for Streamable HTTP, none if it has none.  `{port}` is the port; `{command}` the command
        of the stdio server in one word, `{words}` in its own; `{node}`, `{python}` what runs it; `{home}` the folder of
        its packages.
      sse: the same for HTTP with SSE.
      is_proxy: it has a stdio server behind it; otherwise it is a server itself.
    """

    name: str
    title: str
    version: str
    source: Source
    packages: tuple[str, ...] = ()
    http: tuple[str, ...] = ()
    sse: tuple[str, ...] = ()
    is_proxy: bool = True

    @property
    def column(self) -> str:
        """What stands above its column."""
        return f"{self.title} {self.version}"

    def words(self, transport: Transport) -> tuple[str, ...]:
        """The words that start it for a transport; none if it doesn't have that."""
        return self.http if transport == "http" else self.sse


def path_of(transport: Transport) -> str:
    """The path that every peer serves a transport at."""
    return "/mcp" if transport == "http" else "/sse"


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


_TRIOPROXY: Final = ("{python}", "-m", "trioproxy", "--port", "{port}", "--", "{words}")
_NPM_MCP_PROXY: Final = ("{node}", "{home}/node_modules/.bin/mcp-proxy", "--port", "{port}", "--", "{words}")
_SUPERGATEWAY: Final = ("{node}", "{home}/node_modules/.bin/supergateway", "--stdio", "{command}", "--port", "{port}")
_PYPI_MCP_PROXY: Final = ("{python}", "-m", "mcp_proxy", "--port", "{port}", "--", "{words}")
_PYTHON_SDK: Final = ("{python}", "-m", "conformance.sdk_servers.python", "--port", "{port}")
_SERVER_EVERYTHING: Final = ("env", "PORT={port}", "{node}", "{home}/node_modules/.bin/mcp-server-everything")
_V1, _V2 = "1.32.2", "2.4.0"

PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(OURS, "trioproxy", _installed("trioproxy"), "here", (), _TRIOPROXY, _TRIOPROXY),
        Peer("mcp-proxy-npm", "mcp-proxy (npm)", "6.7.19", "npm", ("mcp-proxy@6.7.19",), _NPM_MCP_PROXY, _NPM_MCP_PROXY),
        Peer(
            "supergateway",
            "supergateway",
            "4.0.0",
            "npm",
            ("supergateway@4.0.0",),
            (*_SUPERGATEWAY, "--outputTransport", "streamableHttp"),
            _SUPERGATEWAY,
        ),
        Peer(
            "supergateway-stateful",
            "supergateway --stateful",
            "4.0.0",
            "npm",
            ("supergateway@4.0.0",),
            (*_SUPERGATEWAY, "--outputTransport", "streamableHttp", "--stateful"),
        ),
        Peer(
            "mcp-proxy-pypi", "mcp-proxy (PyPI)", "0.13.0", "pypi", ("mcp-proxy==0.13.0",), _PYPI_MCP_PROXY, _PYPI_MCP_PROXY
        ),
        Peer("python-sdk", "Python SDK", _installed("mcp"), "here", (), _PYTHON_SDK, is_proxy=False),
        Peer(
            "python-sdk-stateless",
            "Python SDK, stateless",
            _installed("mcp"),
            "here",
            (),
            (*_PYTHON_SDK, "--stateless"),
            is_proxy=False,
        ),
        Peer(
            "typescript-sdk-1",
            "TypeScript SDK",
            _V1,
            "npm",
            (f"@modelcontextprotocol/sdk@{_V1}",),
            ("{node}", "{home}/typescript_1.mjs", "{port}"),
            ("{node}", "{home}/typescript_1.mjs", "{port}"),
            is_proxy=False,
        ),
        Peer(
            "typescript-sdk-2",
            "TypeScript SDK",
            _V2,
            "npm",
            (f"@modelcontextprotocol/server@{_V2}", "@modelcontextprotocol/node@2.1.2"),
            ("{node}", "{home}/typescript_2.mjs", "{port}"),
            is_proxy=False,
        ),
        Peer(
            "server-everything",
            "server-everything",
            "2026.8.31",
            "npm",
            ("@modelcontextprotocol/server-everything@2026.8.31",),
            (*_SERVER_EVERYTHING, "streamableHttp"),
            (*_SERVER_EVERYTHING, "sse"),
            is_proxy=False,
        ),
    )
}
"""Every peer by its name, ourselves first."""
PROXIES: Final = tuple(peer.name for peer in PEERS.values() if peer.is_proxy)
SDKS: Final = tuple(peer.name for peer in PEERS.values() if not peer.is_proxy)

SERVERS: Final = {
    "legacy": ("everything server, legacy era", (sys.executable, "-m", "conformance.everything_server", "--era", "legacy")),
    "dual": ("everything server, both eras", (sys.executable, "-m", "conformance.everything_server", "--era", "dual")),
    "modern": ("everything server, modern era", (sys.executable, "-m", "conformance.everything_server", "--era", "modern")),
    "demo": ("demo server", (sys.executable, "-m", "trioproxy.demo")),
}
"""The stdio servers that a proxy is put in front of: what each is called, and its command."""


@dataclass(frozen=True)
class Installed:
    """A peer on this machine: what `{node}`, `{python}` and `{home}` stand for."""

    peer: Peer
    node: str = ""
    python: str = sys.executable
    home: str = ""

    def command(self, transport: Transport, port: int, server: Sequence[str] = ()) -> list[str]:
        """Return the words that start it for a transport.

        Args:
          server: the command of the stdio server behind it.
        """
        words: list[str] = []
        for word in self.peer.words(transport):
            if word == "{words}":
                words += server
            else:
                # A path may have braces of its own.
                known = {"port": str(port), "command": shlex.join(server), "node": self.node, "python": self.python}
                for name, value in (known | {"home": self.home}).items():
                    if f"{{{name}}}" in word:
                        word = word.replace(f"{{{name}}}", value)
                        break
                words.append(word)
        return words


def fetch(peer: Peer, cache: Path) -> Installed:
    """Have a peer on this machine.

    Raises:
      FetchError: it can't be had.
    """
    folder = f"{peer.source}-{'+'.join(peer.packages)}".replace("/", "-")
    if peer.source == "npm":
        node, home = fetch_npm(folder, peer.packages, cache)
        for word in peer.http:
            if word.endswith(".mjs"):
                # A module finds its packages beside itself, and nowhere else.
                name = word.rpartition("/")[2]
                # Aside first: another run may be starting the old one.
                aside = home / f"{os.getpid()}-{name}"
                aside.write_bytes((_SDK_SERVERS / name).read_bytes())
                aside.rename(home / name)
        return Installed(peer, node=str(node), home=str(home))
    if peer.source == "pypi":
        return Installed(peer, python=str(fetch_python(folder, peer.packages, cache)))
    return Installed(peer)
