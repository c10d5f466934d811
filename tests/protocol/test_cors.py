"""Which pages may call us, and what their browsers are told (Fetch standard, §HTTP CORS protocol)."""

from __future__ import annotations

import re

import pytest

from trioproxy.protocol.cors import ALLOWED_HEADERS, CorsHeaders, is_token, origin_test
from trioproxy.protocol.errors import HostRefused, OriginRefused
from trioproxy.protocol.origins import OriginPolicy

APP = b"https://app.example"

# Who may


@pytest.mark.parametrize(
    ("word", "admitted", "refused"),
    [
        (
            "https://app.example",
            ["https://app.example", "https://APP.example", "https://app.example:443"],
            [
                "http://app.example",
                "https://app.example:8443",
                "https://sub.app.example",
                "https://app.example.evil",
                "https://evilapp.example",
                "https://app.example/",
                "https://app.example, https://evil.example",
                "https://app.example https://evil.example",
                "app.example",
                "null",
                "",
            ],
        ),
        ("HTTPS://App.Example:443", ["https://app.example"], ["https://app.example:444"]),
        ("http://app.example:8080", ["http://app.example:8080"], ["http://app.example", "http://app.example:80"]),
        ("http://[2001:db8::1]:80", ["http://[2001:db8::1]"], ["http://[2001:db8::2]"]),
        ("chrome-extension://abcdef", ["chrome-extension://abcdef"], ["chrome-extension://abcdeg"]),
        (
            r"regex:https://[a-z]+\.app\.example",
            ["https://one.app.example", "https://two.app.example"],
            ["https://app.example", "https://one.app.example.evil", "https://evil.example/https://one.app.example"],
        ),
        # Even a pattern for everything lets in nothing that is no origin.
        ("regex:.*", ["https://any.example"], ["null", "", "https://a.example, https://b.example", "https://" + "a" * 600]),
    ],
)
def test_an_origin_is_compared_as_a_whole(word: str, admitted: list[str], refused: list[str]) -> None:
    test = origin_test([word])
    assert [origin for origin in (*admitted, *refused) if test(origin)] == admitted


def test_several_words_admit_what_any_of_them_does() -> None:
    test = origin_test(["https://a.example", r"regex:https://b\d\.example"])
    assert [test(f"https://{name}.example") for name in ("a", "b1", "b", "c")] == [True, True, False, False]


def test_a_star_admits_everybody_even_those_without_a_name() -> None:
    test = origin_test(["https://a.example", "*"])
    assert all(map(test, ["null", "https://evil.example", "x" * 10_000]))


def test_nobody_is_admitted_by_no_word() -> None:
    assert not origin_test([])("https://app.example")


def test_a_function_decides_anew_each_time() -> None:
    welcome = {"https://a.example"}
    policy = OriginPolicy(admits=origin_test(welcome.__contains__))
    policy.check(b"localhost", b"https://a.example")
    welcome.clear()
    with pytest.raises(OriginRefused):
        policy.check(b"localhost", b"https://a.example")


@pytest.mark.parametrize(
    "word",
    [
        "",
        "null",
        "app.example",
        "https://",
        "https://app.example/",
        "https://*.app.example",
        "https://a b",
        "regex:(",
        "*:80",
    ],
)
def test_a_word_that_could_match_no_page_is_an_error(word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(word))):
        origin_test([word])


# Origins that are admitted, beside those that are ours


def test_who_is_admitted_is_so_under_our_own_names_only() -> None:
    """A page whose name was made to point at us gains nothing from an open door for origins."""
    policy = OriginPolicy(admits=origin_test(["*"]))
    policy.check(b"localhost", b"https://evil.example")
    policy.check(b"localhost", b"null")
    with pytest.raises(HostRefused):
        policy.check(b"evil.example", b"https://evil.example")


def test_what_is_ours_stays_so() -> None:
    policy = OriginPolicy(["proxy.example"], admits=origin_test(["https://app.example"]))
    for origin in (None, b"http://localhost:3000", b"https://proxy.example", b"https://app.example"):
        policy.check(b"localhost", origin)
    with pytest.raises(OriginRefused):
        policy.check(b"localhost", b"https://other.example")


# What is said to them


def test_an_answer_names_the_origin_and_what_may_be_read_of_it() -> None:
    assert CorsHeaders().of_answer(APP) == (
        (b"access-control-allow-origin", b"https://app.example"),
        (b"access-control-expose-headers", b"Mcp-Session-Id, WWW-Authenticate"),
        (b"vary", b"Origin"),
    )


def test_where_everybody_may_call_all_are_told_the_same() -> None:
    headers = CorsHeaders(is_open=True, exposed_headers=())
    assert headers.of_answer(APP) == headers.of_answer(b"null") == ((b"access-control-allow-origin", b"*"),)


def test_credentials_are_for_origins_that_were_named() -> None:
    assert (b"access-control-allow-credentials", b"true") in CorsHeaders(credentials=True).of_answer(APP)
    everybody = CorsHeaders(is_open=True, credentials=True)
    assert dict(everybody.of_answer(APP)).keys() == {b"access-control-allow-origin", b"access-control-expose-headers"}
    assert dict(everybody.of_answer(APP))[b"access-control-allow-origin"] == b"*"


def test_a_preflight_is_told_what_mcp_needs() -> None:
    assert CorsHeaders().of_preflight(b"content-type,mcp-protocol-version") == (
        (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
        (
            b"access-control-allow-headers",
            (
                b"Content-Type, Accept, Authorization, "
                b"Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, Mcp-Method, Mcp-Name"
            ),
        ),
        (b"access-control-max-age", b"7200"),
    )


def test_arguments_that_are_repeated_in_headers_may_be_sent_whatever_their_names() -> None:
    """2026-07-28, Streamable HTTP §Custom Headers: only a server's tools know which there are."""
    requested = b"mcp-param-region, Mcp-Param-Tenant-Id,x-evil,mcp-param-,mcp-param-a b,mcp-param-x\r\ny: z"
    allowed = dict(CorsHeaders(allowed_headers=["Accept"]).of_preflight(requested))[b"access-control-allow-headers"]
    assert allowed == b"Accept, mcp-param-region, Mcp-Param-Tenant-Id, mcp-param-"


def test_what_is_configured_is_said() -> None:
    headers = CorsHeaders(
        methods=["GET"], allowed_headers=[*ALLOWED_HEADERS, "X-Key", "x-key"], exposed_headers=["X-Trace"], max_age=None
    )
    names = [name for name, _ in headers.of_preflight(None)]
    assert names == [b"access-control-allow-methods", b"access-control-allow-headers"]
    assert dict(headers.of_preflight(None))[b"access-control-allow-headers"].endswith(b", Mcp-Name, x-key")
    assert (b"access-control-expose-headers", b"X-Trace") in headers.of_answer(APP)


@pytest.mark.parametrize(("text", "is_one"), [("X-Key", True), ("*", True), ("", False), ("a b", False), ("a\nb", False)])
def test_the_name_of_a_header_is_a_token(text: str, is_one: bool) -> None:
    assert is_token(text) is is_one
