"""Which proxy stands between us and a URL, by the environment."""

from __future__ import annotations

import pytest

from trioproxy.http_proxies import HttpProxy, Proxies, UnusableProxy


def found(environ: dict[str, str], url: str = "http://mcp.example.com:80") -> str | None:
    """Return which proxy is used for an origin."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    proxy = Proxies.from_environment(environ).find(scheme, host.strip("[]"), int(port))
    return None if proxy is None else str(proxy)


@pytest.mark.parametrize(
    ("environ", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": "http://a:1"}, "http://a:1", None),
        ({"HTTPS_PROXY": "http://a:1"}, None, "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"https_proxy": "http://a:1", "all_proxy": "http://b:2"}, "http://b:2", "http://a:1"),
        ({"http_proxy": "http://a:1", "HTTP_PROXY": "http://b:2"}, "http://a:1", None),
        ({"http_proxy": "", "HTTP_PROXY": "http://b:2"}, None, None),
        ({"http_proxy": "", "ALL_PROXY": "http://b:2"}, "http://b:2", "http://b:2"),
        ({"HTTP_PROXY": "a:1"}, "http://a:1", None),
        ({"HTTP_PROXY": "http://a"}, "http://a:80", None),
        ({"HTTP_PROXY": "https://a/"}, "https://a:443", None),
        ({"HTTP_PROXY": "http://[::1]:3128"}, "http://[::1]:3128", None),
    ],
)
def test_the_scheme_of_the_url_picks_the_variable(environ: dict[str, str], http: str | None, https: str | None) -> None:
    assert found(environ) == http
    assert found(environ, "https://mcp.example.com:443") == https


def test_what_a_client_of_a_cgi_program_sends_is_no_proxy() -> None:
    """A header `Proxy` reaches it as HTTP_PROXY."""
    cgi = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil:1"}
    assert found(cgi) is None
    assert found({**cgi, "http_proxy": "http://a:1"}) == "http://a:1"
    assert found({**cgi, "ALL_PROXY": "http://a:1"}) == "http://a:1"


def test_user_and_password_are_for_the_proxy_alone() -> None:
    proxies = Proxies.from_environment({"HTTP_PROXY": "http://me%40home:p%3Aw@a:1"})
    proxy = proxies.find("http", "b", 80)
    assert proxy == HttpProxy("http", "a", 1, b"Basic bWVAaG9tZTpwOnc=")
    assert str(proxy) == "http://a:1"
    assert "p%3Aw" not in repr(proxies) + repr(proxy)
    assert "bWV" not in repr(proxy)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("socks5://me:secret@a:1", "a proxy of 'socks5'; expected one of http or https"),
        ("http://me:secret@", "it names no host"),
        ("http://me:secret@a:port", "no URL of a proxy"),
        ("http://me:secret@[a", "no URL of a proxy"),
    ],
)
def test_a_proxy_that_we_can_not_speak_to_is_told_to_whom_it_concerns(text: str, reason: str) -> None:
    environ = {"ALL_PROXY": text, "NO_PROXY": "direct.example"}
    with pytest.raises(UnusableProxy, match=reason) as caught:
        found(environ)
    assert str(caught.value).startswith("ALL_PROXY: ")
    assert "secret" not in str(caught.value)
    assert found(environ, "http://direct.example:80") is None


@pytest.mark.parametrize(
    ("no_proxy", "direct", "proxied"),
    [
        ("*", ["a:80", "10.0.0.1:80", "[::1]:80"], []),
        ("", [], ["a:80"]),
        ("example.com", ["example.com:80", "a.b.example.com:8080", "example.com.:80"], ["anexample.com:80", "com:80"]),
        (".example.com", ["example.com:80", "a.example.com:80"], ["anexample.com:80"]),
        ("*.Example.com", ["a.example.com:80"], ["example.org:80"]),
        ("a.example:8080", ["a.example:8080", "b.a.example:8080"], ["a.example:80"]),
        (
            " one.example , two.example three.example",
            ["one.example:1", "two.example:1", "three.example:1"],
            ["four.example:1"],
        ),
        ("localhost,127.0.0.0/8", ["localhost:80", "127.1.2.3:80"], ["128.0.0.1:80"]),
        ("10.0.0.1", ["10.0.0.1:80"], ["110.0.0.1:80", "10.0.0.11:80"]),
        (".0.0.1", [], ["10.0.0.1:80"]),
        ("10.0.0.1:8080", ["10.0.0.1:8080"], ["10.0.0.1:80"]),
        ("192.168.1.77/16", ["192.168.9.9:80"], ["192.169.0.1:80", "192.168.example:80"]),
        ("::1", ["[::1]:80", "[0:0::1]:80"], ["[::2]:80"]),
        ("[::1]:8080", ["[::1]:8080"], ["[::1]:80"]),
        ("fe80::/10", ["[fe80::1]:80"], ["[2001::1]:80", "10.0.0.1:80"]),
        ("10.0.0.0/99,.,:,*:8,[", [], ["10.0.0.1:80", "a:80", "a:8"]),
    ],
)
def test_who_is_reached_directly(no_proxy: str, direct: list[str], proxied: list[str]) -> None:
    environ = {"ALL_PROXY": "http://proxy:1", "NO_PROXY": no_proxy}
    assert [found(environ, f"http://{one}") for one in direct] == [None] * len(direct)
    assert [found(environ, f"https://{one}") for one in proxied] == ["http://proxy:1"] * len(proxied)
