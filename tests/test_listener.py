"""Where connections come in: addresses, Unix sockets, TLS, and how many at a time."""

from __future__ import annotations

import errno
import os
import random
import resource
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from tests import wire
from tests.serving import OK, answer, ask, echo, is_json_rpc_error, next_answer, read_to_end, serving, wait_until
from trioproxy import listener as module
from trioproxy.config import ListenConfig
from trioproxy.listener import open_listener
from trioproxy.protocol.errors import ListenError


async def listen_briefly(**listen: Any) -> str:
    """Open a listener, and return its URL."""
    async with open_listener(ListenConfig(**listen), 75) as listener:
        return listener.url


# Addresses


async def test_port_0_is_a_port_that_the_system_picks() -> None:
    async with serving(echo) as one, serving(echo) as other:
        assert one.url != other.url
        assert (await wire.request(one.url + "/")).status == 200
        assert (await wire.request(other.url + "/")).status == 200


async def test_a_taken_port_is_an_error_that_says_what_to_do(free_port: int) -> None:
    async with open_listener(ListenConfig(port=free_port), 75):
        with pytest.raises(ListenError) as caught:
            await listen_briefly(port=free_port)
    hint = "another program listens there, --port chooses another"
    assert str(caught.value) == f"can't listen on 127.0.0.1:{free_port}: Address already in use; {hint}"


async def test_a_port_can_be_had_again_as_soon_as_it_is_free(free_port: int) -> None:
    for _ in range(3):
        async with serving_at(free_port) as url:
            assert (await wire.request(url + "/")).status == 200


@asynccontextmanager
async def serving_at(port: int) -> AsyncIterator[str]:
    async with open_listener(ListenConfig(port=port), 75) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, echo, None)
        yield listener.url
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "192.0.2.1", "a..b", "x" * 80], ids=["unknown", "not ours", "empty label", "too long"]
)
async def test_an_address_that_is_not_ours_is_an_error_that_names_it(host: str) -> None:
    with pytest.raises(ListenError) as caught:
        await listen_briefly(host=host, port=0)
    assert str(caught.value).startswith(f"can't listen on {host}:0: ")
    assert "None" not in str(caught.value)


def has_ipv6() -> bool:
    """Whether this machine has a loopback interface of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@needs_ipv6
async def test_an_address_of_ipv6_is_served_and_written_in_brackets() -> None:
    async with serving(echo, host="::1") as listener:
        assert listener.url.startswith("http://[::1]:")
        assert (await wire.request(listener.url + "/")).status == 200


@needs_ipv6
async def test_everywhere_means_both_families_at_one_port() -> None:
    async with serving(echo, host="") as listener:
        port = listener.url.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            assert (await wire.request(f"http://{host}:{port}/")).status == 200


async def test_localhost_is_served_in_each_family_that_it_has_here() -> None:
    async with serving(echo, host="localhost") as listener:
        port = listener.url.rpartition(":")[2]
        assert listener.url == f"http://localhost:{port}"
        found = socket.getaddrinfo("localhost", int(port), type=socket.SOCK_STREAM)
        for _, _, _, _, address in found:
            async with await trio.open_tcp_stream(str(address[0]), int(port)) as stream:
                assert (await ask(wire.Connection(stream, "localhost"), OK)).status == 200


@pytest.mark.parametrize(("host", "reachable"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
async def test_the_url_is_one_to_connect_to(host: str, reachable: str) -> None:
    async with serving(echo, host=host) as listener:
        assert listener.url.startswith(f"http://{reachable}:")
        assert (await wire.request(listener.url + "/")).status == 200


# How many at a time


async def test_six_hundred_that_connect_at_once_are_let_in_at_once_and_answered() -> None:
    """With a short backlog the kernel drops connects, and clients try again only after a second."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard == resource.RLIM_INFINITY else min(4096, hard), hard))
    try:
        async with open_listener(ListenConfig(port=0), 75) as listener, trio.open_nursery() as nursery:
            address = ("127.0.0.1", int(listener.url.rpartition(":")[2]))
            # Nobody accepts yet.
            clients = [socket.create_connection(address, timeout=0.9) for _ in range(600)]
            for client in clients:
                client.sendall(OK)
            nursery.start_soon(listener.serve, echo, None)
            began = trio.current_time()
            for client in clients:
                client.setblocking(False)
                await trio.lowlevel.wait_readable(client)
                assert client.recv(100).startswith(b"HTTP/1.1 200")
                client.close()
            assert trio.current_time() - began < 5
            nursery.cancel_scope.cancel()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_one_connection_too_many_is_told_so_and_served_once_there_is_room() -> None:
    async with serving(echo, max_connections=2) as listener:
        url = listener.url
        async with wire.connect(url) as first:
            async with wire.connect(url) as second:
                assert (await ask(first, OK)).status == (await ask(second, OK)).status == 200
                for _ in range(3):
                    async with wire.connect(url) as third:
                        response = await ask(third, OK)
                        assert (response.status, response.headers["retry-after"]) == (503, "5")
                        assert is_json_rpc_error(response)
                        assert await third.stream.receive_some() == b""
            await wait_until(lambda: listener.connections == 1)
            async with wire.connect(url) as third:
                assert (await ask(third, OK)).status == 200
            assert (await ask(first, OK)).status == 200


async def test_a_flood_over_the_limit_is_cut_off_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_REFUSALS", 1)
    async with serving(echo, max_connections=1) as listener, wire.connect(listener.url) as inside:
        assert (await ask(inside, OK)).status == 200
        async with wire.connect(listener.url) as told, wire.connect(listener.url) as cut_off:
            assert (await next_answer(told)).status == 503
            assert await read_to_end(cut_off.stream) == b""
        assert (await ask(inside, OK)).status == 200


async def send_for_ever(stream: trio.abc.SendStream) -> None:
    while True:
        await stream.send_all(OK)
        await trio.sleep(0.001)


async def test_who_is_turned_away_and_stays_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REFUSAL_TIME", 0.1)
    async with serving(echo, max_connections=1) as listener, wire.connect(listener.url) as inside:
        assert (await ask(inside, OK)).status == 200
        async with wire.connect(listener.url) as stays:
            assert b" 503 " in await read_to_end(stays.stream)
            with pytest.raises(trio.BrokenResourceError):
                await send_for_ever(stays.stream)


# Unix sockets


@asynccontextmanager
async def connect_unix(path: Path) -> AsyncIterator[wire.Connection]:
    async with await trio.open_unix_socket(path) as stream:
        yield wire.Connection(stream, "localhost")


async def test_a_unix_socket_is_its_owners_alone_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    mask = os.umask(0)
    try:
        async with serving(echo, uds=path) as listener:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert listener.url == f"http+unix://{str(path).replace('/', '%2F')}"
            async with connect_unix(path) as client:
                assert (await ask(client, OK)).status == 200
        assert not path.exists()
        assert os.umask(0) == 0, "our mask is as it was"
    finally:
        os.umask(mask)


async def test_a_unix_socket_that_a_dead_program_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(echo, uds=path), connect_unix(path) as client:
        assert (await ask(client, OK)).status == 200


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
async def test_a_unix_socket_of_a_living_program_is_left_alone(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, kind) as living:
        living.bind(str(path))
        if kind != socket.SOCK_DGRAM:
            living.listen(1)
        with pytest.raises(ListenError, match="another program listens there"):
            await listen_briefly(uds=path)
        assert path.exists()


async def test_a_program_too_busy_to_accept_is_a_living_one(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        waiting: list[tuple[socket.socket, int]] = []
        while not waiting or waiting[-1][1] == 0:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append((client, client.connect_ex(str(path))))
            assert len(waiting) < 10_000
        assert waiting[-1][1] == errno.EAGAIN
        try:
            with pytest.raises(ListenError, match="another program listens there"):
                await listen_briefly(uds=path)
        finally:
            for client, _ in waiting:
                client.close()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match=r"it exists and is not a socket"):
        await listen_briefly(uds=path)
    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("name", "reason"), [("x" * 200, "AF_UNIX path too long"), ("missing/socket", "No such file or directory")]
)
async def test_a_path_that_can_be_no_socket_is_an_error_that_says_why(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ListenError) as caught:
        await listen_briefly(uds=tmp_path / name)
    assert str(caught.value) == f"can't listen on {tmp_path / name}: {reason}"


async def test_a_successor_keeps_its_unix_socket_when_we_are_gone(tmp_path: Path) -> None:
    """While we see our last requests off, another may have been started in our place."""
    path = tmp_path / "socket"
    async with open_listener(ListenConfig(uds=path), 75) as successor_waits:
        await successor_waits.stop_accepting()
        assert not path.exists()
        successor = open_listener(ListenConfig(uds=path), 75)
        listener = await successor.__aenter__()
    assert path.exists()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, echo, None)
        async with connect_unix(path) as client:
            assert (await ask(client, OK)).status == 200
        nursery.cancel_scope.cancel()
    await successor.__aexit__(None, None, None)
    assert not path.exists()


# TLS


class Certificates:
    """A CA, and the files that a server of its needs."""

    def __init__(self, directory: Path) -> None:
        self.ca = trustme.CA()
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        self.cert, self.key = directory / "cert.pem", directory / "key.pem"
        self.issue("localhost")

    def issue(self, name: str, *, cert: bool = True, key: bool = True) -> None:
        """Write a new certificate and its key to the files, or one of the two."""
        issued = self.ca.issue_cert("127.0.0.1", name)
        if cert:
            self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        if key:
            issued.private_key_pem.write_to_path(str(self.key))

    @property
    def files(self) -> dict[str, Any]:
        """The fields of ListenConfig that name the files."""
        return {"ssl_cert": self.cert, "ssl_key": self.key}

    @asynccontextmanager
    async def connect(self, url: str, identity: trustme.LeafCert | None = None) -> AsyncIterator[wire.Connection]:
        """Connect to the server at `url` and shake hands, with the certificate of a client if there is one."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if identity is not None:
            identity.configure_cert(context)
        async with wire.connect(url.replace("https", "http")) as plain:
            stream = trio.SSLStream(plain.stream, context, server_hostname="127.0.0.1")
            await stream.do_handshake()
            yield wire.Connection(stream, plain.host)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """A CA for this test, and a certificate."""
    return Certificates(tmp_path)


def names(connection: wire.Connection) -> set[str]:
    """Return the names in the server's certificate."""
    stream: Any = connection.stream
    return {value for kind, value in stream.getpeercert()["subjectAltName"] if kind == "DNS"}


async def test_https_is_served(certificates: Certificates) -> None:
    async def scheme(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 200, scope["scheme"].encode())

    async with serving(scheme, **certificates.files) as listener:
        assert listener.url.startswith("https://127.0.0.1:")
        async with certificates.connect(listener.url) as client:
            for _ in range(3):
                assert (await ask(client, OK)).body == b"https"


async def test_the_end_of_a_tls_connection_is_announced(certificates: Certificates) -> None:
    """RFC 9112 §9.8: without the closure alert, a response that ends with its connection may have been cut by anybody."""
    async with serving(echo, **certificates.files) as listener, certificates.connect(listener.url) as client:
        await client.stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        # On a stream of trio's that does not say `https_compatible`, an end without it is an error.
        while piece := await client.stream.receive_some():
            data += piece
        assert data.startswith(b"HTTP/1.1 200")


async def test_a_big_body_goes_through_tls_both_ways(certificates: Certificates) -> None:
    body = random.Random(0).randbytes(3_000_000)
    async with serving(echo, **certificates.files) as listener, certificates.connect(listener.url) as client:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert (await ask(client, head + body)).body == body


@pytest.mark.parametrize("secure", [True, False])
async def test_a_stream_of_big_pieces_arrives_whole(certificates: Certificates, secure: bool) -> None:
    """Each of them is a chunk, whose size and end are not copied together with it."""
    pieces = [random.Random(size).randbytes(size) for size in (1, 70_000, 3_000_000, 65_536, 2)]

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    connect = certificates.connect if secure else wire.connect
    async with serving(stream, **(certificates.files if secure else {})) as listener, connect(listener.url) as client:
        assert (await ask(client, OK)).body == b"".join(pieces)


@pytest.mark.parametrize("size", [1000, 5_000_000])
async def test_an_answer_over_tls_can_be_read_though_nobody_reads_the_body(certificates: Certificates, size: int) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 413, b"no")

    async with serving(refuse, **certificates.files) as listener:
        async with certificates.connect(listener.url) as client:
            response = await ask(client, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            assert (response.status, response.body) == (413, b"no")
        await wait_until(lambda: listener.connections == 0)


async def test_plain_http_at_a_tls_port_is_closed_and_harms_nobody(certificates: Certificates) -> None:
    async with serving(echo, **certificates.files) as listener:
        async with wire.connect(listener.url.replace("https", "http")) as plain:
            await plain.stream.send_all(OK)
            assert b"HTTP" not in await read_to_end(plain.stream)
        async with certificates.connect(listener.url) as client:
            assert (await ask(client, OK)).status == 200


async def test_who_does_not_shake_hands_in_time_is_let_go(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HANDSHAKE_TIME", 0.1)
    async with serving(echo, **certificates.files) as listener:
        async with wire.connect(listener.url.replace("https", "http")) as silent:
            assert await silent.stream.receive_some() == b""
        await wait_until(lambda: listener.connections == 0)


@pytest.mark.parametrize("head", [b"", OK[:10], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"])
async def test_broken_tls_ends_its_connection_and_no_more(certificates: Certificates, head: bytes) -> None:
    async with serving(echo, **certificates.files) as listener:
        for _ in range(5):
            async with certificates.connect(listener.url) as hostile:
                if head:
                    await hostile.stream.send_all(head)
                assert isinstance(hostile.stream, trio.SSLStream)
                await hostile.stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + b"x" * 32)
                with pytest.raises(trio.BrokenResourceError):
                    await next_answer(hostile)
        async with certificates.connect(listener.url) as client:
            assert (await ask(client, OK)).status == 200


async def test_nonsense_at_a_tls_port_is_survived(certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(0)
    async with serving(echo, **certificates.files) as listener, certificates.connect(listener.url) as witness:

        async def misbehave(nonsense: bytes, after_handshake: bool) -> None:
            async with wire.connect(listener.url.replace("https", "http")) as plain:
                stream: Any = plain.stream
                if after_handshake:
                    async with certificates.connect(listener.url) as secured:
                        await secured.stream.send_all(nonsense)
                else:
                    await stream.send_all(b"\x16\x03\x01" + nonsense if chance.random() < 0.5 else nonsense)

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(misbehave, chance.randbytes(chance.randrange(1, 3000)), chance.random() < 0.3)
        assert (await ask(witness, OK)).status == 200
    assert not caplog.records


async def test_a_server_with_tls_ends_at_once_though_a_client_has_stopped_reading(certificates: Certificates) -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})

    with trio.CancelScope() as stuck_client:
        async with trio.open_nursery() as nursery:
            async with serving(endless, **certificates.files) as listener:

                async def stop_reading() -> None:
                    async with certificates.connect(listener.url) as client:
                        await client.stream.send_all(OK)
                        await trio.sleep_forever()

                nursery.start_soon(stop_reading)
                await wait_until(lambda: listener.connections == 1)
                await wait_all_tasks_blocked(0.1)
                began = trio.current_time()
            assert trio.current_time() - began < 0.5
            stuck_client.cancel()


async def test_with_verify_client_only_certificates_of_the_ca_are_let_in(certificates: Certificates) -> None:
    files = {**certificates.files, "ssl_ca": certificates.ca_file, "ssl_verify_client": True}
    async with serving(echo, **files) as listener:
        ours, foreign = certificates.ca.issue_cert("client@example.com"), trustme.CA().issue_cert("client@example.com")
        async with certificates.connect(listener.url, ours) as client:
            assert (await ask(client, OK)).status == 200
        for identity in (None, foreign):
            # Of TLS 1.3 a client believes that the handshake is over before the server has seen its certificate.
            with pytest.raises(trio.BrokenResourceError):
                async with certificates.connect(listener.url, identity) as client:
                    await ask(client, OK)


async def test_without_verify_client_the_ca_asks_for_nothing(certificates: Certificates) -> None:
    files = {**certificates.files, "ssl_ca": certificates.ca_file}
    async with serving(echo, **files) as listener, certificates.connect(listener.url) as client:
        assert (await ask(client, OK)).status == 200


@pytest.mark.parametrize("field", ["ssl_cert", "ssl_key", "ssl_ca"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense\n"], ids=["missing", "empty", "nonsense"])
async def test_a_file_that_tls_cannot_use_is_named(certificates: Certificates, field: str, content: bytes | None) -> None:
    wrong = certificates.directory / "wrong.pem"
    if content is not None:
        wrong.write_bytes(content)
    files = {**certificates.files, "ssl_ca": certificates.ca_file, field: wrong}
    with pytest.raises(ListenError) as caught:
        await listen_briefly(port=0, **files)
    assert str(wrong) in str(caught.value)
    assert str(certificates.ca_file) not in str(caught.value)


async def test_a_certificate_with_anothers_key_is_refused_and_both_named(certificates: Certificates) -> None:
    certificates.issue("localhost", cert=False)
    with pytest.raises(ListenError) as caught:
        await listen_briefly(port=0, **certificates.files)
    assert str(certificates.cert) in str(caught.value)
    assert str(certificates.key) in str(caught.value)


async def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(certificates: Certificates) -> None:
    """OpenSSL would ask the terminal, and the start would hang there."""
    from cryptography.hazmat.primitives import serialization as s

    key = s.load_pem_private_key(certificates.key.read_bytes(), None)
    locked = s.BestAvailableEncryption(b"secret")
    certificates.key.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, locked))
    with pytest.raises(ListenError, match=str(certificates.key)):
        await listen_briefly(port=0, **certificates.files)


async def test_a_certificate_read_again_is_shown_to_new_clients_and_old_ones_stay(certificates: Certificates) -> None:
    certificates.issue("before.example")
    async with serving(echo, **certificates.files) as listener, certificates.connect(listener.url) as old:
        assert names(old) == {"before.example"}
        certificates.issue("after.example")
        listener.reload_certificate()
        async with certificates.connect(listener.url) as new:
            assert names(new) == {"after.example"}
            assert (await ask(new, OK)).status == 200
        assert (await ask(old, OK)).status == 200


@pytest.mark.parametrize("fault", ["key of another", "certificate of another", "nonsense", "missing"])
async def test_a_certificate_that_cannot_be_read_again_leaves_the_old_one_in_use(
    certificates: Certificates, fault: str
) -> None:
    certificates.issue("before.example")
    async with serving(echo, **certificates.files) as listener:
        if fault == "nonsense":
            certificates.cert.write_text("nonsense")
        elif fault == "missing":
            certificates.key.unlink()
        else:
            certificates.issue("after.example", cert=fault.startswith("cert"), key=fault.startswith("key"))
        with pytest.raises(ListenError, match=str(certificates.directory)):
            listener.reload_certificate()
        async with certificates.connect(listener.url) as client:
            assert names(client) == {"before.example"}
            assert (await ask(client, OK)).status == 200


async def test_reading_the_certificate_again_where_there_is_none_does_nothing() -> None:
    async with serving(echo) as listener:
        listener.reload_certificate()
        assert (await wire.request(listener.url + "/")).status == 200


async def test_a_listener_that_fails_leaves_the_port_to_others(certificates: Certificates, free_port: int) -> None:
    certificates.key.unlink()
    with pytest.raises(ListenError):
        await listen_briefly(port=free_port, **certificates.files)
    with closing(socket.create_server(("127.0.0.1", free_port))):
        pass
