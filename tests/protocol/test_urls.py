"""Which URLs can be asked, and what is shown of them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.protocol.urls import add_query, is_http_url, is_protected_url, origin, shown_url


@pytest.mark.parametrize(
    "text", ["http://h", "https://h:8443/a/b?c=d", "HTTP://127.0.0.1/", "http://[::1]:80/", "https://h?x"]
)
def test_an_absolute_url_of_http_can_be_asked(text: str) -> None:
    assert is_http_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "/a",
        "//h/a",
        "ftp://h",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http:h",
        "http://",
        "http://?x",
        "http://:80",
        "http://h:0",
        "http://h:65536",
        "http://h:x",
        "http://[::1",
        "http://u@h",
        "http://u:p@h",
        "http://h/#x",
        "http://h/a b",
        "http://h\\@evil",
        "http://h/\n",
        "http://h\t/",
        "http://\u00e9/",
        'http://h/"',
    ],
)
def test_nothing_else_can(text: str) -> None:
    assert not is_http_url(text)


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert not is_protected_url(text) or is_http_url(text)


@pytest.mark.parametrize(
    "text", ["https://h", "http://localhost:1/x", "http://127.0.0.1", "http://127.9.9.9/", "http://[::1]/"]
)
def test_a_url_is_protected_by_https_or_by_going_nowhere(text: str) -> None:
    assert is_protected_url(text)


@pytest.mark.parametrize(
    "text",
    ["http://h", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://10.0.0.1", "ftp://localhost"],
)
def test_other_urls_are_not(text: str) -> None:
    assert not is_protected_url(text)


def test_an_origin_has_a_port_whether_it_is_said_or_not() -> None:
    assert origin(urlsplit("https://H/a")) == origin(urlsplit("https://h:443/b")) == ("https", "h", 443)
    assert origin(urlsplit("http://h")) == ("http", "h", 80)


def test_neither_the_query_of_a_url_is_shown_nor_a_password() -> None:
    assert shown_url("http://h/a?apiKey=secret?x") == "http://h/a"
    assert shown_url("http://me:secret@h/a@b?c=@") == "http://h/a@b"


def test_a_query_keeps_what_was_in_it() -> None:
    assert add_query("http://h/a", "apiKey", "k y&=\u00e9") == "http://h/a?apiKey=k+y%26%3D%C3%A9"
    assert add_query("http://h/a?b=c", "d", "e") == "http://h/a?b=c&d=e"
