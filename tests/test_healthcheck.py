"""A container's health check: a word and a URL in, an exit code and a reason out."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.proxies import DEMO, run_proxy
from trioproxy import healthcheck


def check(*words: str) -> tuple[int, str]:
    """Run it as a user does, and return its exit code and what it has said on stderr."""
    argv = [sys.executable, "-m", "trioproxy", "healthcheck", *words]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert result.stdout == ""
    return result.returncode, result.stderr


@contextmanager
def answering(*pieces: bytes, pause: float = 0) -> Iterator[str]:
    """Accept one connection, and say `pieces` to it, whatever it asks."""

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            for piece in pieces:
                time.sleep(pause)
                try:
                    connection.sendall(piece)
                except OSError:
                    return
            connection.shutdown(socket.SHUT_WR)
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            thread.join()


def test_a_proxy_that_is_well_is_0_and_not_a_word() -> None:
    with run_proxy(*DEMO) as proxy:
        base = proxy.urls[0].removesuffix("/mcp")
        for url in (base, base + "/", base + "/healthz", base + "/ping", base + "/healthz?verbose=1"):
            assert check(url) == (0, "")


def test_a_path_that_is_answered_otherwise_is_1_and_the_answer() -> None:
    with run_proxy(*DEMO) as proxy:
        status, said = check(proxy.urls[0])
        assert (status, said.startswith(f"trioproxy: unhealthy: {proxy.urls[0]}: /mcp is answered 400:")) == (1, True)


def test_a_proxy_that_is_full_is_1_and_says_why() -> None:
    with run_proxy("--max-sessions", "1", *DEMO, urls=2) as proxy:
        host, _, port = proxy.urls[0].removesuffix("/mcp").removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            status, said = check(f"http://{host}:{port}")
            assert (status, "/healthz is answered 503" in said, '"state":"full"' in said) == (1, True, True)


def test_a_unix_socket_is_asked_as_well(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    with run_proxy("--uds", str(path), *DEMO) as proxy:
        assert check(f"unix:{path}") == (0, "")
        # As it was announced, but for the path.
        assert check(proxy.urls[0].replace("/mcp", "/ping")) == (0, "")
    # It was killed, and could not clean up.
    status, said = check(f"unix:{path}")
    assert (status, "Connection refused" in said) == (1, True)


def test_a_certificate_has_to_be_one_that_is_trusted_and_for_that_name(tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    cacert, cert, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    ca.cert_pem.write_to_path(cacert)
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    with run_proxy("--ssl-cert", str(cert), "--ssl-key", str(key), *DEMO) as proxy:
        url = proxy.urls[0].removesuffix("/mcp")
        named = url.replace("127.0.0.1", "localhost")
        assert check("--cacert", str(cacert), named) == (0, "")
        assert check(named, "--cacert", str(cacert)) == (0, "")
        for words, reason in (
            ((named,), "certificate verify failed"),
            (("--cacert", str(cacert), url), "IP address mismatch"),
        ):
            status, said = check(*words)
            assert (status, reason in said) == (1, True), said
        status, said = check("--cacert", "/no/such/file", named)
        assert (status, "No such file" in said) == (1, True)


def test_nobody_there_is_1(free_port: int) -> None:
    status, said = check(f"http://127.0.0.1:{free_port}")
    assert (status, "Connection refused" in said) == (1, True)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), "SSH-2.0"),
        ((), "without response"),
        ((b"HTTP/1.1 500 \r\ncontent-length: 3\r\n\r\noh!",), "/healthz is answered 500: 'oh!'"),
        ((b"HTTP/1.1 302 \r\nlocation: http://evil.example\r\n\r\n",), "/healthz is answered 302"),
    ],
)
def test_an_answer_that_is_none_is_1(pieces: tuple[bytes, ...], reason: str) -> None:
    with answering(*pieces) as url:
        status, said = check(url)
        assert (status, reason in said, said.count("\n")) == (1, True, 1), said


def test_an_answer_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each piece comes in time, and the whole never would."""
    monkeypatch.setattr(healthcheck, "TIME_LIMIT", 0.3)
    with answering(*[b"x"] * 50, pause=0.05) as url:
        before = time.monotonic()
        assert healthcheck.main([url]) == 1
        assert time.monotonic() - before < 2
    assert capsys.readouterr().err == f"trioproxy: unhealthy: {url}: no whole answer within 0.3 s\n"


@pytest.mark.parametrize(
    "words", [(), ("a", "b"), ("--cacert", "x"), ("--insecure", "https://x"), ("ftp://x",), ("http://",)]
)
def test_a_mistake_is_2(words: tuple[str, ...]) -> None:
    status, said = check(*words)
    assert (status, said.startswith(healthcheck.USAGE), "trioproxy: error: " in said) == (2, True, True)


def test_the_word_is_ours_in_the_first_place_only() -> None:
    """A command of that name goes after `--`."""
    with run_proxy("--", "healthcheck", "http://127.0.0.1:1", urls=0) as proxy:
        assert proxy.wait() == 1
        assert "command not found: 'healthcheck'" in "\n".join(proxy.said)


def test_it_loads_nothing_that_takes_time() -> None:
    """It is run every few seconds, on small machines."""
    program = (
        "import json, sys\nfrom trioproxy.cli import main\nmain(['healthcheck', 'http://127.0.0.1:1'])\n"
        "print(json.dumps(list(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=20)
    loaded = set(json.loads(result.stdout))
    assert "trioproxy.healthcheck" in loaded
    assert loaded.isdisjoint({"trio", "mcp", "hypercorn", "h11", "asyncio", "subprocess", "trioproxy.server"})
