"""Only our own pages, at our own names, are answered (Transports §Security Warning)."""

from __future__ import annotations

import pytest

from trioproxy.protocol.errors import HostRefused, OriginRefused
from trioproxy.protocol.origins import OriginPolicy


@pytest.mark.parametrize(
    "host",
    [
        None,
        b"localhost",
        b"localhost:8080",
        b"LocalHost:8080",
        b"localhost.",
        b"127.0.0.1",
        b"127.0.0.1:1",
        b"[::1]",
        b"[::1]:8080",
        b"proxy.example",
        b"Proxy.Example:443",
    ],
)
def test_a_host_that_is_ours_is_served_at_any_port(host: bytes | None) -> None:
    OriginPolicy(["proxy.example:8080"]).check(host, None)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.example",
        b"localhost.evil.example",
        b"evil-localhost",
        b"127.0.0.1.evil.example",
        b"localhost@evil.example",
        b"evil.example@localhost",
        b"localhost:80:80",
        b"localhost:port",
        b"localhost:99999",
        b"localhost/x",
        b"localhost?x",
        b"localhost#x",
        b"localhost, evil.example",
        b"[::1",
        b"::1",
        b"[::2]",
        b"127.0.0.2",
        b"0.0.0.0",
        b"localhost\\evil.example",
        b"l\xf6calhost",
        b"http://localhost",
    ],
)
def test_a_host_that_is_not_ours_is_refused(host: bytes) -> None:
    """A page that was rebound to our address sends its own name."""
    with pytest.raises(HostRefused) as raised:
        OriginPolicy(["proxy.example"]).check(host, None)
    assert "--allowed-host" in str(raised.value)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"http://localhost",
        b"http://localhost:3000",
        b"https://LOCALHOST:3000",
        b"http://127.0.0.1:6274",
        b"http://[::1]:80",
        b"https://proxy.example",
    ],
)
def test_a_page_of_ours_may_call(origin: bytes | None) -> None:
    OriginPolicy(["proxy.example"]).check(b"localhost", origin)


@pytest.mark.parametrize(
    "origin",
    [
        b"",
        b"null",
        b"localhost",
        b"http://evil.example",
        b"https://localhost.evil.example",
        b"http://localhost@evil.example",
        b"http://evil.example#http://localhost",
        b"http://localhost http://evil.example",
        b"http://localhost/path",
        b"file://",
        b"http://",
        b"http://localhost:port",
        b"http://[::1",
        b"://localhost@",
    ],
)
def test_any_other_page_may_not(origin: bytes) -> None:
    """2025-11-25: "If the Origin header is present and invalid, servers MUST respond with HTTP 403 Forbidden"."""
    with pytest.raises(OriginRefused):
        OriginPolicy(["proxy.example"]).check(b"localhost", origin)


def test_the_host_does_not_vouch_for_the_origin_nor_the_origin_for_the_host() -> None:
    policy = OriginPolicy()
    policy.check(b"localhost", b"http://localhost")
    with pytest.raises(OriginRefused):
        policy.check(b"localhost", b"http://evil.example")
    with pytest.raises(HostRefused):
        policy.check(b"evil.example", b"http://localhost")


def test_a_check_says_the_same_however_often_it_is_made() -> None:
    policy = OriginPolicy()
    for _ in range(3):
        for port in range(100):
            policy.check(b"localhost:%d" % (port + 1), b"http://localhost")
            with pytest.raises(HostRefused):
                policy.check(b"evil.example:%d" % (port + 1), b"http://localhost")


def test_a_refusal_shows_what_came_but_not_at_length() -> None:
    with pytest.raises(HostRefused) as raised:
        OriginPolicy().check(b"e" * 10_000, None)
    assert "eeee" in str(raised.value)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("name", ["", "*", "a b:x", ":80"])
def test_a_name_that_is_none_opens_nothing(name: str) -> None:
    for host in (b"", b"evil.example", b":80"):
        with pytest.raises(HostRefused):
            OriginPolicy([name]).check(host, None)
