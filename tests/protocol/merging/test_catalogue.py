"""One list made of several, over all their pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.merging.board import NOTHING, Board, Said, error_codes
from trioproxy.protocol.messages import recognise


def tools(*names: str) -> list[Any]:
    return [{"name": name} for name in names]


def listed(said: Said) -> list[Any]:
    """Return the elements of the one list that the client gets."""
    (answer,) = [message for message in said.to_client if "result" in message]
    (elements,) = answer["result"].values()
    return list(elements)


CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


def test_all_pages_of_all_servers_are_one_page() -> None:
    board = Board().open()
    assert board.ask(1, "tools/list").methods == [("a", "tools/list"), ("b", "tools/list")]
    (more,) = board.answer("a", "tools/list", tools=tools("a1"), nextCursor="page 2").to_servers
    assert (more[0], more[1]["params"]) == ("a", {"cursor": "page 2"})
    assert board.answer("b", "tools/list", tools=tools("b1")) == NOTHING
    said = board.answer("a", "tools/list", tools=tools("a2"))
    assert said.to_client == [{"jsonrpc": "2.0", "id": 1, "result": {"tools": tools("a1", "a2", "b1")}}]


def test_a_cursor_leads_nowhere() -> None:
    assert error_codes(Board().open().ask(1, "tools/list", cursor="x").to_client) == [(1, -32602)]


def test_elements_keep_their_bytes_but_for_a_name_that_collides() -> None:
    board = Board().open()
    board.ask(1, "tools/list")
    for server in ("a", "b"):
        number = board.asked[server, "tools/list"]["id"].encode()
        raw = b'{"jsonrpc":"2.0","id":"%b","result":{"tools":[ {"x":1E400 ,"name" : "echo"} , 7, {"name":null}]}}' % number
        step = board.merger.from_server(server, recognise(raw), board.now)
    element = b'{"x":1E400,"name" : "%b__echo"},7,{"name":null}'
    listed = b",".join(element % server for server in (b"a", b"b"))
    assert step.to_client == (b'{"jsonrpc":"2.0","id":1,"result":{"tools":[%b]}}' % listed,)


def test_nobody_is_asked_who_has_no_such_list() -> None:
    board = Board()
    board.open()
    board.ask(1, "initialize", protocolVersion="2025-11-25")
    board.introduce("a", {"prompts": {}})
    board.introduce("b", {"prompts": {}})
    assert board.ask(2, "tools/list") == Said([{"jsonrpc": "2.0", "id": 2, "result": {"tools": []}}], [], [], [])


def test_a_slow_server_holds_the_list_up_for_a_while_and_its_part_comes_later() -> None:
    board = Board(patience=5).open()
    board.ask(1, "tools/list")
    board.answer("b", "tools/list", tools=tools("two"))
    assert board.wait(4) == NOTHING
    said = board.wait(1)
    assert (listed(said), said.notes) == (tools("two"), ["a: no answer to tools/list within 5 s"])
    # From now on nobody waits for that answer; the client hears when it comes.
    board.ask(2, "tools/list")
    assert listed(board.answer("b", "tools/list", tools=tools("two"))) == tools("two")
    assert board.answer("a", "tools/list", tools=tools("one")).to_client == [CHANGED]
    assert board.list_tools(a=["one"], b=["two"]) == ["one", "two"]


def test_while_a_server_is_slow_what_it_had_before_is_shown() -> None:
    board = Board(patience=5).open()
    assert board.list_tools(a=["one"], b=["two"]) == ["one", "two"]
    board.ask(1, "tools/list")
    board.answer("b", "tools/list", tools=tools("two", "more"))
    assert listed(board.wait(5)) == tools("one", "two", "more")
    # Nothing has changed after all.
    assert board.answer("a", "tools/list", tools=tools("one")) == NOTHING


def test_a_server_that_answers_with_an_error_has_no_part_and_is_asked_again() -> None:
    board = Board().open()
    board.list_tools(a=["one"], b=["two"])
    board.ask(1, "tools/list")
    board.answer("b", "tools/list", tools=tools("two"))
    said = board.fail("a", "tools/list", message="connection refused")
    assert (listed(said), said.notes) == (tools("two"), ["a: no answer to tools/list: connection refused"])
    assert board.wait(5).methods == [("a", "tools/list")]
    board.fail("a", "tools/list")
    assert board.wait(9) == NOTHING
    assert board.wait(1).methods == [("a", "tools/list")]
    assert board.answer("a", "tools/list", tools=tools("one")).to_client == [CHANGED]


def test_a_server_without_the_method_has_an_empty_part() -> None:
    board = Board("a").open()
    board.ask(1, "resources/templates/list")
    assert listed(board.fail("a", "resources/templates/list", -32601)) == []
    assert board.wait(100) == NOTHING


@pytest.mark.parametrize("result", [{}, {"tools": {}}, {"tools": None}])
def test_an_answer_without_a_list_is_none(result: Any) -> None:
    board = Board("a").open()
    board.ask(1, "tools/list")
    said = board.answer("a", "tools/list", **result)
    assert (listed(said), said.notes) == ([], ["a: no answer to tools/list: no array 'tools' in its result"])


def test_a_server_with_one_more_page_for_ever_is_left_off() -> None:
    board = Board("a").open()
    board.ask(1, "tools/list")
    pages = 1
    while not (said := board.answer("a", "tools/list", tools=tools("x"), nextCursor="more")).to_client:
        pages += 1
    assert pages == 1000
    assert len(listed(said)) == 1000
    assert said.notes == ["a: tools/list goes on after 1000 pages; the rest is left out"]


def test_a_list_whose_request_was_cancelled_goes_nowhere() -> None:
    board = Board("a").open()
    board.ask(1, "tools/list")
    board.client(method="notifications/cancelled", params={"requestId": 1})
    assert board.answer("a", "tools/list", tools=[]) == NOTHING


def test_names_do_not_change_while_a_server_is_away() -> None:
    board = Board("a", "b").open()
    assert board.list_tools(a=["echo"], b=["echo"]) == ["a__echo", "b__echo"]
    board.lose("b")
    assert board.list_tools(a=["echo"]) == ["a__echo"]


def test_two_requests_for_a_list_ask_the_servers_once() -> None:
    board = Board("a").open()
    board.ask(1, "tools/list")
    assert board.ask(2, "tools/list") == NOTHING
    said = board.answer("a", "tools/list", tools=tools("x"))
    assert [message["id"] for message in said.to_client] == [1, 2]
