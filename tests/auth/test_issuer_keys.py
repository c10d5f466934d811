"""The keys of an issuer: where they are found, which of them are any good, and how they follow its rotation."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.auth.issuing import jwk, jwks, open_issuer
from tests.stub_http import Asked, Reply, always, open_stub
from trioproxy.auth.issuer_keys import IssuerKeys, KeySet, fetch_keys, metadata_urls
from trioproxy.http_client import HttpClientError
from trioproxy.protocol.errors import AuthenticationUnavailable

OLD, NEW = KeySet(jwks(jwk("old"))), KeySet(jwks(jwk("new")))
DOWN = HttpClientError("down")


class Fetch:
    """Fetches in memory: each outcome once, and the last for ever."""

    def __init__(self, *outcomes: KeySet | Exception) -> None:
        self.outcomes = deque(outcomes)
        self.count = 0

    async def __call__(self) -> KeySet:
        self.count += 1
        await trio.sleep(1)
        outcome = self.outcomes.popleft() if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


# A set of keys


def test_a_key_is_found_by_its_id_and_for_what_it_can_sign() -> None:
    keys = KeySet(jwks(jwk("one"), jwk("two"), jwk("curve", "P-256")))
    one = keys.find("one", "RS256")
    assert one is not None
    assert (one.key_id, one.algorithm_name) == ("one", "RS256")
    assert keys.find("one", "RS256") is one
    assert keys.find("curve", "ES256") is not None
    assert keys.find("three", "RS256") is None
    assert keys.find("curve", "RS256") is None
    assert keys.find("curve", "ES384") is None


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("P-256", {"ES256"}),
        ("P-384", {"ES384"}),
        ("P-521", {"ES512"}),
        ("Ed25519", {"EdDSA"}),
    ],
)
def test_what_a_key_can_sign_with_follows_from_its_type_and_curve(kind: str, algorithms: set[str]) -> None:
    keys = KeySet(jwks(jwk("one", kind)))
    known = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA")
    assert {name for name in (*known, "HS256", "HS384", "HS512", "none") if keys.find("one", name)} == algorithms


def test_a_key_that_names_its_algorithm_signs_with_nothing_else() -> None:
    keys = KeySet(jwks(jwk("one", alg="PS256")))
    assert keys.find("one", "PS256") is not None
    assert keys.find("one", "RS256") is None


@pytest.mark.parametrize(
    "key",
    [
        jwk("one", use="enc"),
        jwk("one", d="AQAB"),
        jwk("one", kty="EC"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "RS256"},
        {"kty": "RSA", "kid": "one"},
        {"kty": "RSA", "n": 1, "e": [], "kid": "one"},
        {"kty": "RSA", "n": "", "e": "", "kid": "one"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "one"},
        {"kty": ["RSA"], "kid": "one"},
        {"kty": "EC", "crv": {}, "kid": "one"},
        {"kid": "one"},
        "one",
        None,
    ],
)
def test_a_key_that_is_none_is_left_out(key: Any) -> None:
    keys = KeySet(jwks(key, jwk("two")))
    assert all(keys.find("one", name) is None for name in ("RS256", "ES256", "HS256"))
    assert keys.find("two", "RS256") is not None


def test_a_token_that_names_no_key_gets_the_only_one_that_could_be_meant() -> None:
    assert KeySet(jwks(jwk("one"), jwk("curve", "P-256"))).find(None, "RS256") is not None
    assert KeySet(jwks(jwk("one"), jwk("two"))).find(None, "RS256") is None


def test_two_keys_of_the_same_name_are_none() -> None:
    assert KeySet(jwks(jwk("one"), {**jwk("two"), "kid": "one"})).find("one", "RS256") is None


@pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": {}}, {"keys": None}])
def test_what_is_no_set_of_keys_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="no set of JSON Web Keys"):
        KeySet(document)


def test_a_set_is_bounded() -> None:
    keys = KeySet(jwks(*({**jwk("one"), "kid": str(number)} for number in range(101))))
    assert keys.find("99", "RS256") is not None
    assert keys.find("100", "RS256") is None


# In time


async def test_keys_are_fetched_once_for_all_who_wait(autojump_clock: MockClock) -> None:
    fetch = Fetch(OLD)
    keys = IssuerKeys(fetch)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(keys.find, "old", "RS256")
    assert fetch.count == 1


async def test_a_new_key_is_found_as_soon_as_a_token_names_it(autojump_clock: MockClock) -> None:
    keys = IssuerKeys(Fetch(OLD, NEW))
    assert await keys.find("old", "RS256") is not None
    await trio.sleep(10)
    assert await keys.find("new", "RS256") is not None
    # And the old one is not good any more.
    assert await keys.find("old", "RS256") is None


async def test_unknown_keys_have_them_fetched_again_at_most_once_in_a_while(autojump_clock: MockClock) -> None:
    fetch = Fetch(OLD)
    keys = IssuerKeys(fetch)
    start = trio.current_time()
    while trio.current_time() < start + 100:
        for number in range(50):
            assert await keys.find(f"../{number}", "RS256") is None
        await trio.sleep(0.5)
    # Each fetch takes a second, and is followed by a pause of ten.
    assert fetch.count == 10


async def test_whose_key_is_known_does_not_wait_for_those_whose_is_not(autojump_clock: MockClock) -> None:
    keys = IssuerKeys(Fetch(OLD))
    await keys.find("old", "RS256")
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.find, "unknown", "RS256")
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        assert await keys.find("old", "RS256") is not None
        assert trio.current_time() == before


async def test_keys_are_fetched_again_after_a_while_so_that_those_withdrawn_are_gone(autojump_clock: MockClock) -> None:
    keys = IssuerKeys(Fetch(OLD, NEW))
    await keys.find("old", "RS256")
    await trio.sleep(599)
    assert await keys.find("old", "RS256") is not None
    await trio.sleep(2)
    assert await keys.find("old", "RS256") is None


async def test_an_issuer_that_is_down_does_no_harm_for_an_hour(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    keys = IssuerKeys(Fetch(OLD, DOWN, DOWN, NEW))
    await keys.find("old", "RS256")
    await trio.sleep(601)
    assert await keys.find("old", "RS256") is not None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    await trio.sleep(2990)
    assert await keys.find("old", "RS256") is not None
    await trio.sleep(60)
    assert await keys.find("new", "RS256") is not None


async def test_but_not_for_longer(autojump_clock: MockClock) -> None:
    keys = IssuerKeys(Fetch(OLD, DOWN))
    await keys.find("old", "RS256")
    await trio.sleep(3601)
    with pytest.raises(AuthenticationUnavailable):
        await keys.find("old", "RS256")


async def test_where_the_issuer_is_slow_only_one_waits_for_it(autojump_clock: MockClock) -> None:
    keys = IssuerKeys(Fetch(OLD))
    await keys.find("old", "RS256")
    await trio.sleep(601)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.find, "old", "RS256")
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        assert await keys.find("old", "RS256") is not None
        assert trio.current_time() == before


async def test_an_issuer_that_is_down_from_the_start_is_asked_again_soon_but_not_at_every_request(
    autojump_clock: MockClock,
) -> None:
    fetch = Fetch(DOWN, OLD)
    keys = IssuerKeys(fetch)
    for _ in range(3):
        with pytest.raises(AuthenticationUnavailable, match="the issuer of tokens does not answer"):
            await keys.find("old", "RS256")
    assert fetch.count == 1
    await trio.sleep(5)
    assert await keys.find("old", "RS256") is not None


async def test_who_leaves_while_keys_are_fetched_leaves_that_to_the_next(autojump_clock: MockClock) -> None:
    keys = IssuerKeys(Fetch(OLD))
    with trio.move_on_after(0.5):
        await keys.find("old", "RS256")
    assert await keys.find("old", "RS256") is not None


# Where they are


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (
            "https://auth.example.com/tenant1",
            (
                "https://auth.example.com/.well-known/oauth-authorization-server/tenant1",
                "https://auth.example.com/.well-known/openid-configuration/tenant1",
                "https://auth.example.com/tenant1/.well-known/openid-configuration",
            ),
        ),
        (
            "https://auth.example.com",
            (
                "https://auth.example.com/.well-known/oauth-authorization-server",
                "https://auth.example.com/.well-known/openid-configuration",
            ),
        ),
        (
            "https://auth.example.com/",
            (
                "https://auth.example.com/.well-known/oauth-authorization-server",
                "https://auth.example.com/.well-known/openid-configuration",
            ),
        ),
    ],
)
def test_metadata_is_looked_for_where_the_specification_says(issuer: str, urls: tuple[str, ...]) -> None:
    """2026-07-28, Authorization Server Discovery §Authorization Server Metadata Discovery, its examples."""
    assert metadata_urls(issuer) == urls


@pytest.mark.parametrize(
    ("path", "well_known"),
    [
        ("", "/.well-known/oauth-authorization-server"),
        ("", "/.well-known/openid-configuration"),
        ("/tenant1", "/.well-known/oauth-authorization-server/tenant1"),
        ("/tenant1", "/.well-known/openid-configuration/tenant1"),
        ("/tenant1", "/tenant1/.well-known/openid-configuration"),
    ],
)
async def test_keys_are_found_by_metadata_in_any_of_these_places(path: str, well_known: str) -> None:
    async with open_issuer(path, well_known) as issuer:
        assert (await fetch_keys(issuer.url, None)).find("one", "RS256") is not None


async def test_metadata_that_names_no_keys_leaves_it_to_the_next() -> None:
    async with open_issuer(well_known="/.well-known/openid-configuration") as issuer:
        issuer.documents["/.well-known/oauth-authorization-server"] = Reply({"issuer": issuer.url})
        assert (await fetch_keys(issuer.url, None)).find("one", "RS256") is not None


async def test_who_says_where_the_keys_are_needs_no_metadata() -> None:
    async with open_issuer() as issuer:
        assert issuer.stub is not None
        await fetch_keys("https://elsewhere.example", f"{issuer.stub.url}/jwks")
        assert issuer.stub.targets == ["/jwks"]


async def test_metadata_of_another_issuer_is_not_used() -> None:
    """2026-07-28, §Authorization Server Metadata Discovery: "If they differ, the client MUST NOT use the metadata"."""
    async with open_issuer() as issuer:
        for other in ("https://honest.example", issuer.url + "/", None):
            document = {"issuer": other, "jwks_uri": f"{issuer.url}/jwks"}
            issuer.documents["/.well-known/oauth-authorization-server"] = Reply(document)
            with pytest.raises(ValueError, match="is the metadata of another issuer"):
                await fetch_keys(issuer.url, None)


@pytest.mark.parametrize("url", ["http://keys.example/jwks", "file:///etc/passwd", "ftp://localhost/", "", "/jwks"])
async def test_keys_that_somebody_on_the_way_could_change_are_not_fetched(url: str) -> None:
    async with open_issuer() as issuer:
        document = {"issuer": issuer.url, "jwks_uri": url}
        issuer.documents["/.well-known/oauth-authorization-server"] = Reply(document)
        with pytest.raises(ValueError, match="which is not https"):
            await fetch_keys(issuer.url, None)


async def test_an_issuer_without_metadata_is_told() -> None:
    async with open_stub(always(Reply(b"", 404))) as stub:
        with pytest.raises(ValueError, match="has no metadata that says where its keys are"):
            await fetch_keys(stub.url, None)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"", 404), "has no keys"),
        (Reply(b"", 500), "answers with status 500"),
        (Reply(b"<html>"), "is no JSON"),
        (Reply(b"[" * 100_000), "is no JSON"),
        (Reply({}), "no set of JSON Web Keys"),
    ],
)
async def test_what_is_found_instead_of_keys_is_told(reply: Reply, reason: str) -> None:
    async with open_stub(always(reply)) as stub:
        with pytest.raises(ValueError, match=reason):
            await fetch_keys(stub.url, f"{stub.url}/jwks?key=1")


async def test_keys_that_are_huge_or_elsewhere_or_not_there_are_none(free_port: int) -> None:
    async with open_stub(always(Reply(b" " * 600_000))) as stub:
        with pytest.raises(HttpClientError, match="a body of more than 524288 bytes"):
            await fetch_keys(stub.url, f"{stub.url}/jwks")
    async with (
        open_stub(always(Reply(jwks(jwk())))) as other,
        open_stub(always(Reply(b"", 302, {"location": other.url}))) as stub,
    ):
        with pytest.raises(HttpClientError, match="redirected elsewhere"):
            await fetch_keys(stub.url, f"{stub.url}/jwks")
        assert other.connections == 0
    with pytest.raises(HttpClientError, match="refused"):
        await fetch_keys("https://x.example", f"http://127.0.0.1:{free_port}/jwks")


async def test_an_issuer_that_is_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioproxy.auth.issuer_keys.FETCH_TIME", 0.05)

    async def answer(asked: Asked) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with open_stub(answer) as stub:
        with pytest.raises(HttpClientError, match=r"no whole answer within 0\.05 s"):
            await fetch_keys(stub.url, None)
