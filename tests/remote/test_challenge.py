"""What a remote wants that refuses a request."""

from __future__ import annotations

import pytest

from trioproxy.remote.challenge import read_challenge


@pytest.mark.parametrize(
    ("status", "value", "scope", "is_step_up"),
    [
        (401, b"Bearer", None, False),
        (401, b'Bearer resource_metadata="https://a/b", scope="x y"', "x y", False),
        (401, b'Bearer scope="", error="invalid_token"', None, False),
        (401, b"Bearer scope=x", "x", False),
        (401, b'Basic realm="a", Bearer scope="x"', "x", False),
        (401, b'Bearer noscope="x"', None, False),
        (403, b'Bearer error="insufficient_scope", scope="x y"', "x y", True),
        (403, b"Bearer scope=x, error=insufficient_scope", "x", True),
        (403, b'Bearer error="insufficient_scope"', None, True),
    ],
)
def test_a_challenge_is_read(status: int, value: bytes, scope: str | None, is_step_up: bool) -> None:
    challenge = read_challenge(status, [(b"www-authenticate", value)])
    assert challenge is not None
    assert (challenge.scope, challenge.is_step_up) == (scope, is_step_up)


def test_a_challenge_may_come_in_several_headers_or_in_none() -> None:
    challenge = read_challenge(401, [(b"www-authenticate", b"Basic"), (b"www-authenticate", b'Bearer scope="x y x"')])
    assert challenge is not None
    assert challenge.scopes == {"x", "y"}
    assert read_challenge(401, []) is not None


@pytest.mark.parametrize(
    ("status", "value"),
    [(403, b""), (403, b'Bearer error="invalid_token"'), (403, b'Bearer x="insufficient_scope"'), (404, b"Bearer")],
)
def test_what_no_token_would_help_with_is_no_challenge(status: int, value: bytes) -> None:
    assert read_challenge(status, [(b"www-authenticate", value)]) is None
