"""What a client said in its handshake is said again in each modern request (2026-07-28, Basic §`_meta`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioproxy.protocol.legacy_to_modern.introduction import Introduction, read_introduction
from trioproxy.protocol.messages import Request, parse_line


def introduce(revision: object = "2025-11-25", **params: Any) -> Introduction:
    members = {"protocolVersion": revision, **params}
    request = parse_line(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": members}).encode())
    assert isinstance(request, Request)
    return read_introduction(request)


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_a_revision_with_a_handshake_is_granted(revision: str) -> None:
    assert introduce(revision).revision == revision


@pytest.mark.parametrize("revision", ["2026-07-28", "2030-01-01", "1.0.0", None, 7, []])
def test_for_any_other_revision_the_latest_with_a_handshake_is_offered(revision: object) -> None:
    assert introduce(revision).revision == "2025-11-25"


def test_the_envelope_has_the_clients_own_bytes() -> None:
    raw = (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        b'"capabilities":{ "experimental": {"x": 1e999} },"clientInfo":{"version": "\\u0031", "name":"a"}}}'
    )
    request = parse_line(raw)
    assert isinstance(request, Request)
    assert read_introduction(request).edits("debug") == {
        ("params", "_meta", "io.modelcontextprotocol/protocolVersion"): b'"2026-07-28"',
        ("params", "_meta", "io.modelcontextprotocol/clientCapabilities"): b'{"experimental": {"x": 1e999}}',
        ("params", "_meta", "io.modelcontextprotocol/clientInfo"): b'{"version": "\\u0031", "name":"a"}',
        ("params", "_meta", "io.modelcontextprotocol/logLevel"): b'"debug"',
    }


def test_a_client_that_says_nothing_can_do_nothing() -> None:
    assert introduce() == Introduction(
        "2025-11-25",
        {},
        {
            "io.modelcontextprotocol/protocolVersion": b'"2026-07-28"',
            "io.modelcontextprotocol/clientCapabilities": b"{}",
        },
    )


@pytest.mark.parametrize(
    ("revision", "declared", "holds"),
    [
        ("2025-11-25", {"tasks": {"list": {}}, "roots": {"listChanged": True}}, {"roots": {}}),
        ("2025-11-25", {"roots": None}, {"roots": None}),
        ("2025-11-25", {"elicitation": {"url": {}}}, {"elicitation": {"url": {}}}),
        ("2025-11-25", {"sampling": {"tools": {}}}, {"sampling": {"tools": {}}}),
        ("2025-06-18", {"elicitation": {"url": {}}}, {"elicitation": {}}),
        ("2025-06-18", {"sampling": {"tools": {}, "x": 1}}, {"sampling": {"x": 1}}),
        ("2025-06-18", {"elicitation": {}}, {"elicitation": {}}),
        ("2025-03-26", {"elicitation": {}, "sampling": {}}, {"sampling": {}}),
        ("2025-03-26", {"extensions": {"a/b": {}}}, {"extensions": {"a/b": {}}}),
        ("2024-11-05", {"elicitation": {"form": {}}}, {}),
        ("2025-11-25", ["nonsense"], {}),
    ],
)
def test_what_the_clients_revision_or_the_modern_era_does_not_know_is_not_declared(
    revision: str, declared: Any, holds: dict[str, Any]
) -> None:
    introduction = introduce(revision, capabilities=declared)
    assert introduction.capabilities == holds
    assert json.loads(introduction.envelope["io.modelcontextprotocol/clientCapabilities"]) == holds
