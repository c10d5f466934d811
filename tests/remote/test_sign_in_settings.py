"""What is no way to sign in is told before anybody tries."""

from __future__ import annotations

from typing import Any

import pytest

from trioproxy.config import ConfigError
from trioproxy.remote.settings import SignInConfig


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"client_secret": "our-secret"}, "--client-secret needs --client-id"),
        ({"token_url": "https://as.example/token"}, "--token-url needs --client-id"),
        (
            {"client_id": "us", "token_url": "http://as.example/token"},
            "--token-url 'http://as.example/token': expected",
        ),
        ({"issuer": "https://as.example"}, "--client-issuer needs --client-id"),
        ({"client_id": "us", "issuer": "http://as.example"}, "--client-issuer 'http://as.example': expected an https URL"),
        (
            {"client_metadata_url": "http://us.example/client.json"},
            "--client-metadata-url .*: expected an https URL with",
        ),
        ({"client_metadata_url": "https://us.example/"}, "--client-metadata-url .*: expected an https URL with"),
        ({"client_metadata_url": "https://us.example?a=/b"}, "--client-metadata-url .*: expected an https URL with"),
        ({"redirect_port": 65536}, "--redirect-port 65536: expected a port"),
    ],
)
def test_what_can_not_work_is_told(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        SignInConfig(**members)
    assert "our-secret" not in str(caught.value)


def test_what_can_work_is_taken() -> None:
    SignInConfig(
        browser=True,
        client_id="us",
        client_secret="our-secret",
        token_url="http://127.0.0.1:1/token",
        issuer="http://localhost:1",
        client_metadata_url="https://us.example/client.json",
        redirect_port=3334,
    )
