"""How a connection comes about: directly, through a proxy, with TLS, and not at all."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trio
import trustme

from tests.stub_http import Asked, Reply, Stub, always, open_raw_stub, open_stub
from tests.stub_proxy import open_stub_proxy
from trioproxy.http_client import CouldNotConnect, HttpClientError, Response, open_http_client
from trioproxy.http_connection import Route, dial
from trioproxy.http_proxies import Proxies

ME = "Basic bWU6c2VjcmV0"


def through(stub: Stub, user: str = "", **environ: str) -> Proxies:
    """Return what a shell says in which `stub` is the proxy for all."""
    return Proxies.from_environment({"ALL_PROXY": stub.url.replace("://", f"://{user}"), **environ})


async def ask(url: str, proxies: Proxies | None = None, ca_file: Path | None = None, method: str = "GET") -> Response:
    async with open_http_client(proxies=proxies, ca_file=ca_file) as client:
        return await client.request(method, url, time_limit=10, max_size=1000)


async def refusal(url: str, proxies: Proxies | None = None, ca_file: Path | None = None) -> str:
    """Return why nothing was sent."""
    with pytest.raises(CouldNotConnect) as caught:
        await ask(url, proxies, ca_file, method="POST")
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_tls(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


# Directly


async def test_a_connection_sends_at_once_and_notices_when_the_way_is_lost() -> None:
    async with open_stub(always(Reply())) as stub:
        where = ("http", "127.0.0.1", int(stub.url.rpartition(":")[2]))
        connection = await dial(Route(where, None), ssl.create_default_context, "GET")
        inner = connection._socket.socket
        assert inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert inner.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        await connection.close()


async def test_nobody_there_means_that_nothing_was_sent(free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    message = await refusal(f"{url}/mcp?key=secret")
    assert message.startswith(f"POST {url}/mcp: ")
    assert message.endswith("Connection refused")


async def test_a_certificate_that_is_not_good_means_that_nothing_was_sent(authority: trustme.CA) -> None:
    async with open_stub(always(Reply()), server_tls(authority)) as stub:
        assert "its certificate is not good: " in await refusal(stub.url)
        assert stub.asked == []


async def test_a_server_without_tls_is_told_to_be_one(ca_file: Path) -> None:
    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with open_raw_stub(talk) as stub:
        message = await refusal(stub.url.replace("http:", "https:"), ca_file=ca_file)
    assert message.endswith("(it seems to speak plain HTTP)")


async def test_a_server_that_does_not_finish_its_handshake_is_given_up(ca_file: Path) -> None:
    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with open_raw_stub(talk) as stub, open_http_client(ca_file=ca_file, connect_timeout=0.05) as client:
        with pytest.raises(CouldNotConnect, match=r"no connection within 0\.05 s"):
            await client.request("GET", stub.url.replace("http:", "https:"), time_limit=10, max_size=0)


async def test_who_refuses_a_large_body_before_it_has_come_is_heard() -> None:
    """Whoever closes on unread bytes resets the connection, and what it has said before may still be there."""

    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig")

    async with open_raw_stub(talk) as stub, open_http_client() as client:
        for _ in range(2):
            response = await client.request("POST", stub.url, body=b"x" * 30_000_000, time_limit=10, max_size=10)
            assert (response.status, response.body) == (413, b"big")
        assert stub.connections == 2


# Through a proxy


async def test_a_proxy_gets_the_whole_url_and_whose_request_it_is() -> None:
    async with open_stub(always(Reply(b"hello"))) as proxy, open_http_client(proxies=through(proxy, "me:secret@")) as client:
        for _ in range(2):
            response = await client.request("GET", "http://mcp.example/a?b=c", time_limit=10, max_size=9)
            assert response.body == b"hello"
    assert [(one.target, one.headers["host"]) for one in proxy.asked] == [("http://mcp.example/a?b=c", "mcp.example")] * 2
    assert proxy.asked[0].headers["proxy-authorization"] == ME
    assert proxy.connections == 1


async def test_what_is_reached_directly_is_not_told_to_the_proxy() -> None:
    async with open_stub(always(Reply(b"direct"))) as stub, open_stub(always(Reply(b"proxied"))) as proxy:
        proxies = through(proxy, "me:secret@", NO_PROXY="127.0.0.1")
        assert (await ask(stub.url, proxies)).body == b"direct"
        assert "proxy-authorization" not in stub.asked[0].headers
        assert (await ask("http://mcp.example/", proxies)).body == b"proxied"


async def test_https_goes_through_a_tunnel_that_the_proxy_does_not_look_into(authority: trustme.CA, ca_file: Path) -> None:
    async with (
        open_stub(always(Reply(b"hello")), server_tls(authority, "mcp.example")) as stub,
        open_stub_proxy(to=int(stub.url.rpartition(":")[2])) as proxy,
        open_http_client(proxies=through(proxy, "me:secret@"), ca_file=ca_file) as client,
    ):
        for _ in range(2):
            response = await client.request("GET", "https://mcp.example/a?key=secret", time_limit=10, max_size=9)
            assert response.body == b"hello"
    (asked,) = proxy.asked
    assert (asked.method, asked.target) == ("CONNECT", "mcp.example:443")
    assert asked.headers == {"host": "mcp.example:443", "proxy-authorization": ME}
    assert [one.target for one in stub.asked] == ["/a?key=secret"] * 2
    assert "proxy-authorization" not in stub.asked[0].headers


async def test_a_tunnel_may_begin_with_tls_of_its_own(authority: trustme.CA, ca_file: Path) -> None:
    async with (
        open_stub(always(Reply(b"hello")), server_tls(authority, "mcp.example")) as stub,
        open_stub_proxy(tls=server_tls(authority), to=int(stub.url.rpartition(":")[2])) as proxy,
    ):
        assert proxy.url.startswith("https:")
        assert (await ask("https://mcp.example/", through(proxy), ca_file)).body == b"hello"


async def test_the_certificate_has_to_be_that_of_the_server_whatever_the_proxy_is(
    authority: trustme.CA, ca_file: Path
) -> None:
    async with (
        open_stub(always(Reply(b"hello")), server_tls(authority, "proxy.example")) as stub,
        open_stub_proxy(to=int(stub.url.rpartition(":")[2])) as proxy,
    ):
        message = await refusal("https://mcp.example/", through(proxy), ca_file)
        assert message.startswith(f"POST https://mcp.example/, through {proxy.url}: its certificate is not good: Hostname")
        assert stub.asked == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 403 Not from here\r\n\r\n", "the proxy refuses: 403 Not from here"),
        (b"HTTP/1.1 407 Who?\r\ncontent-length: 0\r\n\r\n", "the proxy refuses: 407 Who?; wrong password?"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP: "),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000, "the answer is not HTTP: "),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "the proxy says more than that there is a tunnel"),
        (b"HTTP/1.1 2", "the answer is not HTTP: "),
    ],
)
async def test_a_proxy_that_makes_no_tunnel_means_that_nothing_was_sent(said: bytes, reason: str, ca_file: Path) -> None:
    async with open_stub_proxy(said) as proxy:
        message = await refusal("https://mcp.example/?key=secret", through(proxy, "me:secret@"), ca_file)
    assert message.startswith(f"POST https://mcp.example/, through {proxy.url}: {reason}")


async def test_a_proxy_that_wants_to_know_us_is_told_from_a_server_that_does() -> None:
    async with open_stub(always(Reply(b"", 407))) as proxy:
        with pytest.raises(HttpClientError, match=r"the proxy refuses: 407.*; it wants a user and a password$"):
            await ask("http://mcp.example/", through(proxy))
        assert (await ask(proxy.url)).status == 407


async def test_a_proxy_that_is_not_there_is_named(free_port: int) -> None:
    proxies = Proxies.from_environment({"ALL_PROXY": f"http://me:secret@127.0.0.1:{free_port}"})
    message = await refusal("http://mcp.example/", proxies)
    assert message.startswith(f"POST http://mcp.example/, through http://127.0.0.1:{free_port}: ")
    assert message.endswith("Connection refused")


async def test_a_proxy_that_can_not_be_used_is_told_before_anything_is_sent() -> None:
    proxies = Proxies.from_environment({"ALL_PROXY": "socks5://me:secret@127.0.0.1:1"})
    assert "ALL_PROXY: a proxy of 'socks5'" in await refusal("http://mcp.example/", proxies)


async def test_a_tunnel_that_is_never_made_is_given_up_and_a_cancelled_one_leaves_nothing(ca_file: Path) -> None:
    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with open_raw_stub(talk) as proxy:
        async with open_http_client(proxies=through(proxy), ca_file=ca_file, connect_timeout=0.05) as client:
            with pytest.raises(CouldNotConnect, match="no connection within"):
                await client.request("GET", "https://mcp.example/", time_limit=10, max_size=0)
        async with open_http_client(proxies=through(proxy), ca_file=ca_file) as client:
            with trio.move_on_after(0.05) as scope:
                await client.request("GET", "https://mcp.example/", time_limit=10, max_size=0)
            assert scope.cancelled_caught


async def test_a_tunnel_is_not_used_for_another_origin(authority: trustme.CA, ca_file: Path) -> None:
    async def answer(asked: Asked) -> Reply:
        return Reply(asked.headers["host"].encode())

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("one.example", "other.example").configure_cert(tls)
    async with (
        open_stub(answer, tls) as stub,
        open_stub_proxy(to=int(stub.url.rpartition(":")[2])) as proxy,
        open_http_client(proxies=through(proxy), ca_file=ca_file) as client,
    ):
        for name in ("one.example", "other.example", "one.example"):
            assert (await client.request("GET", f"https://{name}/", time_limit=10, max_size=99)).body == name.encode()
    assert [asked.target for asked in proxy.asked] == ["one.example:443", "other.example:443"]
