"""What is believed of a tunnel server's answer, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.protocol.tunnel_registration import (
    Registration,
    RegistrationError,
    RegistrationRefused,
    is_subdomain,
    read_registration,
    registration_pause,
    registration_url,
    socket_pause,
)

HOST = "https://tunnel.example"
GOOD = {
    "domain": "tunnel.example",
    "id": "plastic-cow-90",
    "maxConnCount": 10,
    "port": 46403,
    "url": "https://plastic-cow-90.tunnel.example",
}


def read(answer: Any, wanted: str | None = None, host: str = HOST, status: int = 200) -> Registration:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return read_registration(status, body, host, wanted)


def refusal(answer: Any, **more: Any) -> str:
    """Return why an answer can't be used."""
    with pytest.raises(RegistrationError) as caught:
        read(answer, **more)
    return str(caught.value)


# What is asked


def test_any_name_is_asked_for_or_a_certain_one() -> None:
    assert registration_url(HOST, None) == "https://tunnel.example/?new"
    assert registration_url(f"{HOST}/", "my-name") == "https://tunnel.example/my-name"


@pytest.mark.parametrize("text", ["abcd", "my-server", "0123", "a" * 63])
def test_what_a_server_could_give_is_a_name(text: str) -> None:
    assert is_subdomain(text)


@pytest.mark.parametrize(
    "text", ["", "abc", "a" * 64, "-abcd", "abcd-", "Abcd", "ab.cd", "ab/cd", "ab?cd", "äbcd", "abcd\n"]
)
def test_nothing_else_is(text: str) -> None:
    assert not is_subdomain(text)


# What is answered


def test_pipenet_gives_each_client_a_port() -> None:
    url = "https://plastic-cow-90.tunnel.example"
    assert read(GOOD) == Registration("plastic-cow-90", url, ("tunnel.example", 46403), 10)


def test_where_all_share_a_port_each_socket_says_whose_it_is() -> None:
    registration = read({**GOOD, "sharedTunnel": True})
    assert registration.greeting == b"plastic-cow-90\n"


def test_the_port_of_the_public_url_is_kept_and_so_is_its_scheme() -> None:
    registration = read(
        {**GOOD, "url": "http://plastic-cow-90.tunnel.localhost:18301"}, host="http://tunnel.localhost:18301"
    )
    assert registration.url == "http://plastic-cow-90.tunnel.localhost:18301"
    assert registration.address == ("tunnel.localhost", 46403)


def test_the_id_is_believed_where_the_url_still_has_the_name_that_somebody_else_has() -> None:
    registration = read({**GOOD, "url": "https://wanted.eu.tunnel.example"}, wanted="wanted")
    assert (registration.id, registration.url) == ("plastic-cow-90", "https://plastic-cow-90.eu.tunnel.example")


@pytest.mark.parametrize(
    "url",
    [None, 7, "", "nonsense", "javascript:alert(1)", "https://other.example", "https://localhost", "https://a\nb.example"],
)
def test_a_url_that_has_nothing_to_do_with_the_id_is_replaced_by_one_of_the_server(url: object) -> None:
    assert read({**GOOD, "url": url}).url == "https://plastic-cow-90.tunnel.example"


@pytest.mark.parametrize(("count", "sockets"), [(10, 10), (3, 3), (1000, 10), (0, 1), (None, 1)])
def test_no_more_sockets_are_opened_than_pipenet_takes(count: object, sockets: int) -> None:
    assert read({**GOOD, "maxConnCount": count}).max_sockets == sockets


def test_the_least_that_a_server_has_to_say_is_an_id_and_a_port() -> None:
    assert read({"id": "abcd", "port": 1}) == Registration("abcd", "https://abcd.tunnel.example", ("tunnel.example", 1))


# Where we may be sent


@pytest.mark.parametrize("ip", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_a_server_may_send_us_to_an_address_of_the_public_internet(ip: str) -> None:
    assert read({**GOOD, "ip": ip}).address == (ip, 46403)


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "::ffff:127.0.0.1",
        "fe80::1%lo",
        "0.0.0.0",
        "224.0.0.1",
    ],
)
def test_a_server_may_not_send_us_to_our_neighbours(ip: str) -> None:
    assert refusal({**GOOD, "ip": ip}) == f"it sends us to {ip!r}, which is no address of the public internet"


@pytest.mark.parametrize("ip", ["redis.internal", 2130706433, ["10.0.0.1"], {"a": 1}, True, "127.1"])
def test_what_is_no_address_is_none(ip: object) -> None:
    assert "which is no address of the public internet" in refusal({**GOOD, "ip": ip})


def test_a_server_of_our_own_may_give_the_address_by_which_we_know_it() -> None:
    assert read({**GOOD, "ip": "127.0.0.1"}, host="http://127.0.0.1:3000").address == ("127.0.0.1", 46403)


@pytest.mark.parametrize("port", [None, 0, -1, 65536, 1e3, "80", True, [80], {"a": 1}, 10**30])
def test_a_port_is_a_number_and_there_are_not_more_of_them(port: object) -> None:
    assert refusal({**GOOD, "port": port}).startswith("it sends us to the port ")


@pytest.mark.parametrize(
    "own_id", [None, 7, "", "a b", "a\nFLUSHALL", "a.b", "-a", "a-", "A", "ä", "a" * 64, ["a"], "a/../b", "a@b", "a:1"]
)
def test_an_id_is_a_name_and_no_command_to_somebody_else(own_id: object) -> None:
    """It may be the first line on a connection to a machine of the server's choice."""
    assert refusal({**GOOD, "id": own_id, "sharedTunnel": True}).startswith("it gives us the id ")


@pytest.mark.parametrize("count", [-1, "10", 1.5, [1], {"a": 1}, True])
def test_a_number_of_sockets_is_a_number(count: object) -> None:
    assert refusal({**GOOD, "maxConnCount": count}).endswith("connections, which is no number")


def test_a_server_at_an_address_of_ipv6_has_no_names_for_us() -> None:
    assert refusal({"id": "abcd", "port": 1}, host="http://[::1]:3000").startswith("it has no name of which ours could be")


# Refusals and failures


def test_a_refusal_says_why() -> None:
    with pytest.raises(RegistrationRefused, match="it refuses, with status 403: Invalid subdomain"):
        read({"message": "Invalid subdomain."}, status=403)


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b'{"message": 7}', b'{"message": ""}', b"<html>"])
def test_a_refusal_may_say_nothing(body: bytes) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        read(body, status=404)
    assert str(caught.value) == "it refuses, with status 404"


def test_not_much_of_a_refusal_is_shown() -> None:
    assert len(refusal({"message": "x" * 10_000}, status=400)) < 250
    assert len(refusal({**GOOD, "id": "x" * 10_000})) < 250
    assert len(refusal({**GOOD, "port": ["x" * 10_000]})) < 250


@pytest.mark.parametrize("status", [204, 301, 500, 502, 503])
def test_another_status_is_a_failure_and_no_refusal(status: int) -> None:
    with pytest.raises(RegistrationError, match=f"^status {status} is no answer$") as caught:
        read(GOOD, status=status)
    assert not isinstance(caught.value, RegistrationRefused)


@pytest.mark.parametrize(
    "body", [b"", b"no", b"[1]", b"null", b'"x"', b"{}", b"\xff", b"[" * 60_000, b'{"port": ' + b"1" * 9999]
)
def test_what_is_no_object_is_no_answer(body: bytes) -> None:
    assert refusal(body) == f"its answer of {len(body)} bytes is no JSON object"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "ip", "sharedTunnel", "cachedUrl"]), VALUES), st.integers(200, 599))
def test_whatever_a_server_says_is_a_registration_or_an_error(changed: dict[str, Any], status: int) -> None:
    try:
        registration = read({**GOOD, **changed}, status=status)
    except RegistrationError:
        return
    assert registration.address[0] == "tunnel.example" or "ip" in changed
    assert registration.max_sockets in range(1, 11)


# Pauses


def test_pauses_grow_from_two_seconds_to_a_minute() -> None:
    assert [registration_pause(failures, 0.5) for failures in (0, 1, 2, 3, 4, 5, 6, 10**9)] == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_name_is_asked_for_again_when_the_server_has_let_go_of_it_and_not_by_all_at_once() -> None:
    assert registration_pause(0, 0) == 1.5
    assert registration_pause(0, 1) == 2.5


def test_useless_sockets_are_replaced_more_and_more_slowly() -> None:
    assert [socket_pause(failures, 0.5) for failures in (1, 2, 3, 7, 8, 9, 10**9)] == [0.25, 0.5, 1, 16, 30, 30, 30]
