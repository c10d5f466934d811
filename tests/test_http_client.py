"""The HTTP client, before servers that are polite, broken, slow, huge, and somebody else."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trustme

from tests.stub_http import Asked, Reply, Stub, always, open_raw_stub, open_stub
from trioproxy.http_client import CouldNotConnect, HttpClient, HttpClientError, Response, find_header, open_http_client

Talk = Callable[[Stub, trio.abc.Stream], Awaitable[None]]


async def get(client: HttpClient, url: str, time_limit: float = 10, max_size: int = 1000) -> Response:
    return await client.request("GET", url, time_limit=time_limit, max_size=max_size)


async def refusal(url: str, time_limit: float = 10, max_size: int = 1000, ca_file: Path | None = None) -> str:
    """Return why a GET got no answer."""
    async with open_http_client(ca_file=ca_file) as client:
        with pytest.raises(HttpClientError) as caught:
            await get(client, url, time_limit, max_size)
    return str(caught.value)


def saying(data: bytes) -> Talk:
    """Return a server that hears something, says `data` and closes."""

    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(data)

    return talk


# Requests and responses


async def test_a_request_says_whom_it_asks_and_for_what() -> None:
    async with open_stub(always(Reply(b"hello", 404, {"X-Thing": "1"}))) as stub, open_http_client() as client:
        response = await client.request(
            "GET", f"{stub.url}/a/b?c=d&e", headers=[(b"accept", b"text/plain")], time_limit=10, max_size=5
        )
    assert (response.status, response.body) == (404, b"hello")
    assert (b"x-thing", b"1") in response.headers
    (asked,) = stub.asked
    assert (asked.method, asked.target) == ("GET", "/a/b?c=d&e")
    assert asked.headers["host"] == stub.url.removeprefix("http://")
    assert asked.headers["accept"] == "text/plain"
    assert asked.headers["user-agent"].startswith("trioproxy/")
    assert "content-length" not in asked.headers


async def test_a_url_without_a_path_asks_for_the_root() -> None:
    async with open_stub(always(Reply())) as stub, open_http_client() as client:
        await get(client, stub.url)
        await get(client, f"{stub.url}?a=b")
    assert stub.targets == ["/", "/?a=b"]


async def test_a_body_goes_with_its_length_and_an_empty_post_has_one_too() -> None:
    async with open_stub(always(Reply())) as stub, open_http_client() as client:
        for body in (b"x" * 100_000, b""):
            await client.request("POST", stub.url, body=body, time_limit=10, max_size=0)
    assert [(asked.body, asked.headers["content-length"]) for asked in stub.asked] == [
        (b"x" * 100_000, "100000"),
        (b"", "0"),
    ]


async def test_a_response_may_be_chunked_cut_anywhere_and_preceded_by_others() -> None:
    response = b"HTTP/1.1 103 \r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"

    async def drip(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        for byte in response:
            await stream.send_all(bytes([byte]))

    async with open_raw_stub(drip) as stub, open_http_client() as client:
        assert (await get(client, stub.url)).body == b"hello"


async def test_a_response_can_be_read_while_it_is_still_coming() -> None:
    go_on = trio.Event()

    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\nfirst")
        await go_on.wait()
        await stream.send_all(b"after")

    async with (
        open_raw_stub(talk) as stub,
        open_http_client() as client,
        client.open_request("POST", stub.url, body=b"x") as response,
    ):
        assert (response.status, response.headers[0]) == (200, (b"content-type", b"text/plain"))
        assert await response.__anext__() == b"first"
        go_on.set()
        assert [piece async for piece in response] == [b"after"]


# Connections


async def test_a_connection_is_used_again() -> None:
    async with open_stub(always(Reply(b"hello"))) as stub, open_http_client() as client:
        for _ in range(3):
            assert (await get(client, stub.url)).body == b"hello"
        assert stub.connections == 1


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    both = [trio.Event(), trio.Event()]

    async def answer(asked: Asked) -> Reply:
        mine = int(asked.target[1:])
        both[mine].set()
        await both[1 - mine].wait()
        return Reply(asked.target.encode())

    async with open_stub(answer) as stub, open_http_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(get, client, f"{stub.url}/0")
        assert (await get(client, f"{stub.url}/1")).body == b"/1"
    assert stub.connections == 2


async def test_a_connection_is_not_used_for_another_origin() -> None:
    async with open_stub(always(Reply())) as one, open_stub(always(Reply())) as other, open_http_client() as client:
        await get(client, one.url)
        await get(client, other.url)
        await get(client, one.url)
    assert (one.connections, other.connections) == (1, 1)


async def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used() -> None:
    async with (
        open_raw_stub(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")) as stub,
        open_http_client() as client,
    ):
        for _ in range(2):
            response = await client.request("POST", stub.url, time_limit=10, max_size=10)
            assert response.body == b"hi"
            # The close is on its way: nothing comes after it.
            await trio.testing.wait_all_tasks_blocked(0.05)
    assert stub.connections == 2


async def test_bytes_that_nobody_asked_for_are_no_answer_to_the_next_request() -> None:
    """A response that a server sends unasked could otherwise be taken for the answer to another question."""

    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        body = b"%d" % stub.connections
        while await stream.receive_some():
            answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"
            await stream.send_all(answer + body + answer + b"x")

    async with open_raw_stub(talk) as stub, open_http_client() as client:
        assert (await get(client, stub.url)).body == b"1"
        assert (await get(client, stub.url)).body == b"2"


async def test_a_get_that_meets_the_close_on_the_way_is_sent_again_and_a_post_is_not() -> None:
    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await stream.receive_some()  # and closes instead of answering

    async with open_raw_stub(talk) as stub, open_http_client() as client:
        await get(client, stub.url)
        assert (await get(client, stub.url)).status == 200
        assert stub.connections == 2
        with pytest.raises(HttpClientError, match="the server has closed the connection"):
            await client.request("POST", stub.url, time_limit=10, max_size=0)
        assert stub.connections == 2


async def test_a_post_that_may_be_sent_twice_is_sent_again_as_well() -> None:
    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await stream.receive_some()

    async with open_raw_stub(talk) as stub, open_http_client() as client:
        for method in ("POST", "POST", "DELETE"):
            response = await client.request(method, stub.url, time_limit=10, max_size=0, is_safe=True)
            assert response.status == 200
        assert stub.connections == 3


async def test_a_fresh_connection_that_is_closed_without_an_answer_is_not_tried_again() -> None:
    async with open_raw_stub(saying(b"")) as stub, open_http_client() as client:
        with pytest.raises(HttpClientError, match="the server has closed the connection") as caught:
            await client.request("POST", stub.url, time_limit=10, max_size=0, is_safe=True)
        assert not isinstance(caught.value, CouldNotConnect)
        assert stub.connections == 1


async def test_many_responses_are_open_at_once_and_a_request_finds_its_way_beside_them() -> None:
    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        mine = stub.connections
        while await stream.receive_some():
            if mine > 50:
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            else:
                await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\ndata: %d" % mine)

    async with open_raw_stub(talk) as stub, open_http_client() as client, AsyncExitStack() as stack:
        responses = [await stack.enter_async_context(client.open_request("GET", stub.url)) for _ in range(50)]
        assert [await response.__anext__() for response in responses] == [b"data: %d" % n for n in range(1, 51)]
        for _ in range(5):
            assert (await get(client, stub.url)).body == b"hi"
        assert stub.connections == 51


async def test_no_more_than_a_few_connections_are_kept() -> None:
    together = trio.Event()
    waiting = 0

    async def answer(asked: Asked) -> Reply:
        nonlocal waiting
        waiting += 1
        if waiting == 20:
            together.set()
        await together.wait()
        return Reply()

    closed = 0

    async with open_stub(answer) as stub, open_http_client() as client:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(get, client, stub.url)
            closed = stub.connections
    assert closed == 20 + 12


async def test_a_client_that_is_cancelled_closes_all_its_connections() -> None:
    """That none is left, `nothing_left_behind` sees."""
    async with open_stub(always(Reply())) as one, open_stub(always(Reply())) as other:
        with trio.CancelScope() as scope:
            async with open_http_client() as client:
                await get(client, one.url)
                await get(client, other.url)
                scope.cancel()


async def test_half_an_answer_is_not_asked_for_again() -> None:
    async with open_raw_stub(saying(b"HTTP/1.1 200 OK\r\ncontent-le")) as stub:
        assert "is not HTTP" in await refusal(stub.url)
        assert stub.connections == 1


async def test_a_request_that_is_cancelled_costs_its_connection() -> None:
    async def answer(asked: Asked) -> Reply:
        if asked.target == "/slow":
            await trio.sleep_forever()
        return Reply(b"quick")

    async with open_stub(answer) as stub, open_http_client() as client:
        with trio.move_on_after(0.05):
            await get(client, f"{stub.url}/slow")
        assert (await get(client, stub.url)).body == b"quick"
        assert stub.connections == 2


async def test_a_body_that_nobody_reads_costs_its_connection() -> None:
    async with open_stub(always(Reply(b"x" * 1000))) as stub, open_http_client() as client:
        async with client.open_request("GET", stub.url) as response:
            assert response.status == 200
        assert len((await get(client, stub.url)).body) == 1000
        assert stub.connections == 2


# Limits


async def test_a_body_over_the_limit_is_refused_whether_announced_or_not() -> None:
    async with open_stub(always(Reply(b"x" * 1001))) as stub:
        assert await refusal(stub.url) == f"GET {stub.url}: a body of more than 1000 bytes, which is the limit"
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000
    async with open_raw_stub(saying(endless)) as stub:
        assert "more than 1000 bytes" in await refusal(stub.url)
    async with open_stub(always(Reply(b"x" * 1000))) as stub, open_http_client() as client:
        assert len((await get(client, stub.url)).body) == 1000


async def test_a_head_that_does_not_end_is_refused() -> None:
    async with open_raw_stub(saying(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000)) as stub:
        assert "is not HTTP" in await refusal(stub.url)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"], ids=["silent", "half a body"])
async def test_a_server_that_is_too_slow_is_given_up(data: bytes) -> None:
    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.send_all(data or b"HTTP")
        await trio.sleep_forever()

    async with open_raw_stub(talk) as stub:
        assert await refusal(stub.url, time_limit=0.05) == f"GET {stub.url}: no whole answer within 0.05 s"


# Failures, and their evidence


async def test_a_failure_names_the_url_without_its_query(free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    message = await refusal(f"{url}/auth?apiKey=secret")
    assert message.startswith(f"GET {url}/auth: ")
    assert message.endswith("Connection refused")
    assert "secret" not in message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the server has closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "the answer is not HTTP"),
    ],
)
async def test_what_is_no_answer_is_told(data: bytes, reason: str) -> None:
    async with open_raw_stub(saying(data)) as stub:
        assert (await refusal(stub.url)).startswith(f"GET {stub.url}: {reason}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/mcp",
        "ftp://localhost/",
        "http://",
        "http:///x",
        "http://localhost:99999/",
        "http://localhost:x/",
        "http://user:secret@localhost/",
        "http://localhost/a b",
        "http://localhost/\r\nx: y",
        "http://löcalhost/",
        "http://a..b/",
        "http://localhost/#x",
    ],
)
async def test_what_is_no_url_is_not_asked(url: str) -> None:
    await refusal(url)


async def test_a_header_can_not_be_smuggled_in() -> None:
    async with open_stub(always(Reply())) as stub, open_http_client() as client:
        with pytest.raises(HttpClientError, match="can't be sent"):
            await client.request("GET", stub.url, headers=[(b"a", b"b\r\nc: d")], time_limit=10, max_size=0)
    assert stub.asked == []


# Redirects


def redirecting(to: str, status: int = 302) -> Callable[[Asked], Awaitable[Reply]]:
    async def answer(asked: Asked) -> Reply:
        return Reply(b"there") if asked.target == "/there?x=1" else Reply(b"", status, {"location": to})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_get_follows_a_redirect_to_the_same_origin(status: int) -> None:
    async with open_stub(redirecting("/there?x=1#fragment", status)) as stub, open_http_client() as client:
        assert (await get(client, f"{stub.url}/here?y=2")).body == b"there"
    assert stub.targets == ["/here?y=2", "/there?x=1"]


async def test_no_request_follows_a_redirect_to_somebody_else() -> None:
    async with open_stub(always(Reply(b"mine"))) as other, open_stub(redirecting(f"{other.url}/?secret=1")) as stub:
        message = await refusal(stub.url)
        assert message == f"GET {stub.url}: redirected elsewhere, to '{other.url}/'"
        assert other.connections == 0


@pytest.mark.parametrize("to", ["https://127.0.0.1:1/", "file:///etc/passwd", "//evil.example/", "http://[", "//a@b/"])
async def test_strange_redirects_lead_nowhere(to: str) -> None:
    async with open_stub(redirecting(to)) as stub:
        assert "redirected elsewhere" in await refusal(stub.url)


async def test_redirects_in_a_circle_end() -> None:
    async with open_stub(redirecting("/here")) as stub:
        assert await refusal(f"{stub.url}/here") == f"GET {stub.url}/here: redirected more than 5 times"
        assert len(stub.asked) == 6


async def test_a_post_follows_what_leaves_it_a_post_and_nothing_else() -> None:
    """Many a server sends /mcp to /mcp/ so."""
    for status in (307, 308):
        async with open_stub(redirecting("/there?x=1", status)) as stub, open_http_client() as client:
            response = await client.request("POST", stub.url, body=b"{}", time_limit=10, max_size=10)
            assert response.body == b"there"
            assert [(asked.method, asked.target, asked.body) for asked in stub.asked] == [
                ("POST", "/", b"{}"),
                ("POST", "/there?x=1", b"{}"),
            ]
    async with open_stub(redirecting("/there?x=1")) as stub, open_http_client() as client:
        assert (await client.request("POST", stub.url, time_limit=10, max_size=0)).status == 302


async def test_who_wants_to_see_a_redirect_gets_it_as_it_is() -> None:
    async with open_stub(redirecting("https://evil.example/")) as stub, open_http_client() as client:
        response = await client.request("GET", stub.url, time_limit=10, max_size=0, follows_redirects=False)
    assert response.status == 302
    assert find_header(response.headers, b"location") == "https://evil.example/"
    assert find_header(response.headers, b"x-none") is None


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_certificate_that_is_good_is_good(authority: trustme.CA, ca_file: Path) -> None:
    async with (
        open_stub(always(Reply(b"hello")), server_tls(authority, "localhost")) as stub,
        open_http_client(ca_file=ca_file) as client,
    ):
        for _ in range(2):
            assert (await get(client, stub.url)).body == b"hello"
    assert stub.connections == 1


async def test_a_certificate_for_another_name_is_not(authority: trustme.CA, ca_file: Path) -> None:
    async with open_stub(always(Reply()), server_tls(authority, "other.example")) as stub:
        message = await refusal(stub.url, ca_file=ca_file)
    assert message.startswith(f"GET {stub.url}: its certificate is not good: Hostname mismatch")
    assert stub.asked == []


async def test_a_certificate_of_somebody_unknown_is_not(authority: trustme.CA, ca_file: Path) -> None:
    async with open_stub(always(Reply()), server_tls(trustme.CA(), "localhost")) as stub:
        assert "its certificate is not good" in await refusal(stub.url, ca_file=ca_file)
        # Nor is it for those whom the system trusts.
        assert "its certificate is not good" in await refusal(stub.url)
    assert stub.asked == []


async def test_who_wants_no_certificate_checked_gets_that(authority: trustme.CA) -> None:
    async with (
        open_stub(always(Reply(b"hello")), server_tls(authority, "other.example")) as stub,
        open_http_client(verify=False) as client,
    ):
        assert (await get(client, stub.url)).body == b"hello"


async def test_a_server_without_tls_is_told(ca_file: Path) -> None:
    async with open_raw_stub(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as stub:
        message = await refusal(stub.url.replace("http:", "https:"), ca_file=ca_file)
    assert ": no TLS: " in message


async def test_ca_certificates_that_can_not_be_used_are_told_at_once(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pem", Path(__file__)):
        with pytest.raises(HttpClientError, match=f"can't use the CA certificates {path}"):
            async with open_http_client(ca_file=path):
                pass
