"""The handshake is made of a modern client's first request, and what the server says in it is said again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.protocol.modern_to_legacy.desk import SERVER_INFO, envelope, line, modern_request
from trioproxy.protocol.errors import ChildError, ParseError
from trioproxy.protocol.messages import Request, Response, parse_line, recognise
from trioproxy.protocol.modern_to_legacy.handshake import discover_response, initialize_params, read_introduction


def response(**members: Any) -> Response:
    message = parse_line(line(id="i", **members))
    assert isinstance(message, Response)
    return message


def introduce(**result: Any) -> Response:
    return response(result={"protocolVersion": "2025-11-25", "capabilities": {}, **result})


@pytest.mark.parametrize(
    ("declared", "offered"),
    [
        ({}, {}),
        ({"elicitation": {"form": {}, "url": {}}}, {"elicitation": {"form": {}, "url": {}}}),
        ({"sampling": {"tools": {}}, "experimental": {"x": {}}}, {"sampling": {"tools": {}}, "experimental": {"x": {}}}),
        ({"roots": {"listChanged": True}}, {"roots": {}}),
        ({"roots": True, "elicitation": {}}, {"roots": True, "elicitation": {}}),
        ({"tasks": {"list": {}}, "extensions": {"io.modelcontextprotocol/ui": {}}, "later": 1}, {}),
    ],
)
def test_the_server_hears_what_the_first_request_declares_as_far_as_both_eras_know_it(
    declared: dict[str, Any], offered: dict[str, Any]
) -> None:
    assert json.loads(initialize_params(modern_request(1, "tools/list", capabilities=declared))) == {
        "protocolVersion": "2025-11-25",
        "capabilities": offered,
        "clientInfo": {"name": "new", "version": "2"},
    }


def test_what_the_client_declares_keeps_its_bytes() -> None:
    meta = (
        b'{"io.modelcontextprotocol/clientInfo": {"name":"\\ud83d","version":"1e999", "x": 1e999},'
        b'"io.modelcontextprotocol/clientCapabilities":{"experimental":{"n":1e999}}}'
    )
    request = parse_line(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":%b}}' % meta)
    assert isinstance(request, Request)
    assert initialize_params(request) == (
        b'{"protocolVersion":"2025-11-25","capabilities":{"experimental":{"n":1e999}},'
        b'"clientInfo":{"name":"\\ud83d","version":"1e999", "x": 1e999}}'
    )


@pytest.mark.parametrize("info", [None, "new", {"name": "new"}, {"version": "2"}, {"name": 1, "version": "2"}])
def test_a_client_that_does_not_say_who_it_is_is_unknown(info: Any) -> None:
    """Its name is required in the old era only."""
    meta = {**envelope(), "io.modelcontextprotocol/clientInfo": info}
    request = parse_line(line(id=1, method="tools/list", params={"_meta": meta}))
    assert isinstance(request, Request)
    assert json.loads(initialize_params(request))["clientInfo"] == {"name": "unknown", "version": "0"}


def test_a_server_is_discovered_by_what_it_said_in_the_handshake() -> None:
    """Discovery §Response."""
    introduction = read_introduction(
        introduce(
            capabilities={"tools": {"listChanged": True}, "tasks": {"list": {}}, "experimental": {}},
            serverInfo=SERVER_INFO,
            instructions="Ask me.",
        )
    )
    assert json.loads(discover_response("discover-1", introduction)) == {
        "jsonrpc": "2.0",
        "id": "discover-1",
        "result": {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {"listChanged": True}, "experimental": {}},
            "_meta": {"io.modelcontextprotocol/serverInfo": SERVER_INFO},
            "instructions": "Ask me.",
            "ttlMs": 0,
            "cacheScope": "private",
        },
    }


def test_a_server_that_says_little_is_discovered_nevertheless() -> None:
    introduction = read_introduction(response(result={"protocolVersion": "2024-11-05"}))
    assert json.loads(discover_response(1, introduction))["result"] == {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {},
        "ttlMs": 0,
        "cacheScope": "private",
    }


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_a_server_of_any_handshake_revision_will_do(revision: str) -> None:
    assert read_introduction(introduce(protocolVersion=revision, serverInfo=SERVER_INFO)).capabilities == {}


@pytest.mark.parametrize("revision", ["2026-07-28", "1999-01-01", None, 7])
def test_a_server_of_another_revision_will_not(revision: Any) -> None:
    """Lifecycle §Version Negotiation: "If the client does not support the version […], it SHOULD disconnect"."""
    with pytest.raises(ChildError, match=str(revision)):
        read_introduction(introduce(protocolVersion=revision))


def test_a_server_that_refuses_is_quoted() -> None:
    with pytest.raises(ChildError, match=r"refused the handshake: not today \(-32000\)"):
        read_introduction(response(error={"code": -32000, "message": "not today"}))
    with pytest.raises(ChildError, match="refused the handshake"):
        read_introduction(response(error="no"))


def test_an_answer_that_is_broken_in_the_middle_is_no_introduction() -> None:
    broken = recognise(b'{"jsonrpc":"2.0","id":"i","result":{' + b" " * 20_000 + b"x}}")
    assert isinstance(broken, Response)
    with pytest.raises(ParseError):
        read_introduction(broken)
