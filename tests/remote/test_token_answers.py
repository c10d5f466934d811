"""What an authorization server answers, read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioproxy.remote.token_answers import SignInFailed, check_registration, describe, describe_refusal, read_token


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"access_token": "a"}, {"access_token": "a", "token_type": "Bearer"}),
        ({"access_token": "a", "token_type": "bearer", "extra": {}}, {"access_token": "a", "token_type": "Bearer"}),
        (
            {"access_token": "a", "expires_in": 60, "refresh_token": "r", "scope": "x y"},
            {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r", "scope": "x y"},
        ),
        ({"access_token": "a", "expires_in": "60"}, {"access_token": "a", "token_type": "Bearer", "expires_in": 60}),
        ({"access_token": "a", "expires_in": 59.9}, {"access_token": "a", "token_type": "Bearer", "expires_in": 59}),
        ({"access_token": "a", "expires_in": 0}, {"access_token": "a", "token_type": "Bearer", "expires_in": 0}),
    ],
)
def test_what_counts_of_a_token_is_taken_in_its_type(answer: dict[str, Any], token: dict[str, Any]) -> None:
    assert read_token(json.dumps(answer).encode()) == token


@pytest.mark.parametrize("lifetime", [None, True, -1, "soon", "nan", "inf", 1e300, []])
def test_a_lifetime_that_makes_no_sense_is_none(lifetime: object) -> None:
    answer = {"access_token": "a", "expires_in": lifetime, "refresh_token": None, "scope": ["x"]}
    assert read_token(json.dumps(answer).encode()) == {"access_token": "a", "token_type": "Bearer"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b'"secret-token"',
        b"access_token=secret-token",
        b'{"access_token": ""}',
        b'{"access_token": ["secret-token"]}',
        b'{"access_token": "secret-token\\n"}',
        b'{"access_token": "secret-t\\u00f6ken"}',
        b'{"access_token": "secret-token", "token_type": "mac"}',
        b'{"access_token": "secret-token", "token_type": null}',
    ],
)
def test_what_is_no_token_is_told_without_what_it_is(body: bytes) -> None:
    with pytest.raises(SignInFailed) as caught:
        read_token(body)
    assert "secret" not in str(caught.value)


def test_a_registration_names_the_client() -> None:
    check_registration(b'{"client_id": "us"}')
    for body in (b"", b"[]", b"{}", b'{"client_id": ""}', b'{"client_id": 7, "client_secret": "secret"}'):
        with pytest.raises(SignInFailed, match="answers without a client id"):
            check_registration(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "invalid_grant"}', "token refused: invalid_grant"),
        (b'{"error": "invalid_grant", "error_description": "too late"}', "token refused: invalid_grant: too late"),
        (b'{"error_description": "my-secret-code is used"}', "token refused: … is used"),
        (b'{"error": 7}', "token refused: HTTP 400"),
        (b"<html>my-secret-code", "token refused: HTTP 400"),
    ],
)
def test_a_refusal_is_told_without_what_we_sent(body: bytes, said: str) -> None:
    assert describe_refusal("token", 400, body, ["a", "my-secret-code"]) == said


def test_what_others_wrote_stays_one_line_and_short() -> None:
    assert describe({"error": "a\nb\x1b[2J"}) == "a?b?[2J"
    assert len(describe({"error": "x" * 10_000})) == 300
