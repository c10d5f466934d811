"""Several servers look like one."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.protocol.merging.board import CLIENT, EVERYTHING, NOTHING, Board, Said, error_codes, line
from trioproxy.protocol.errors import InvalidRequest
from trioproxy.protocol.merging import Merger
from trioproxy.protocol.messages import parse_line, recognise

INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def changed(*kinds: str) -> list[Any]:
    return [{"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"} for kind in kinds]


# The handshake


def test_every_server_is_initialized_with_the_clients_own_words() -> None:
    board = Board()
    said = board.ask(0, "initialize", **CLIENT)
    assert [(server, message["method"], message["params"]) for server, message in said.to_servers] == [
        ("a", "initialize", CLIENT),
        ("b", "initialize", CLIENT),
    ]
    assert board.introduce("a", {"tools": {}}, instructions="Ask.") == NOTHING
    said = board.introduce(
        "b",
        {"resources": {"subscribe": True}, "logging": {}, "tasks": {}},
        protocolVersion="2025-06-18",
        instructions="Look.",
    )
    assert said.to_client == [
        {
            "jsonrpc": "2.0",
            "id": 0,
            "result": {
                "protocolVersion": "2025-06-18",
                "capabilities": {
                    "tools": {"listChanged": True},
                    "resources": {"listChanged": True, "subscribe": True},
                    "logging": {},
                },
                "serverInfo": {"name": "trioproxy", "version": "1.2.3"},
                "instructions": "# a\n\nAsk.\n\n# b\n\nLook.",
            },
        }
    ]
    assert board.client(method="notifications/initialized").to_servers == [("a", INITIALIZED), ("b", INITIALIZED)]
    assert board.merger.deadline == math.inf


def test_a_server_that_refuses_is_missing_and_nothing_else() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    assert board.fail("a", "initialize", message="connection refused").notes == [
        "a: it refuses the handshake: connection refused"
    ]
    said = board.introduce("b", {"tools": {}})
    # It may still come, and capabilities can't be added then.
    lists = {kind: {"listChanged": True} for kind in ("tools", "prompts", "resources")}
    assert said.to_client[0]["result"]["capabilities"] == lists
    assert said.notes == ["not there yet: a: it refuses the handshake: connection refused"]


def test_a_server_that_keeps_silent_holds_the_others_up_for_a_while_only() -> None:
    board = Board(patience=5)
    board.ask(0, "initialize", **CLIENT)
    board.introduce("b")
    assert board.wait(4.9) == NOTHING
    said = board.wait(0.1)
    assert [message["id"] for message in said.to_client] == [0]


def test_the_first_to_come_after_that_while_is_enough() -> None:
    board = Board(patience=5)
    board.ask(0, "initialize", **CLIENT)
    assert board.wait(20) == NOTHING
    assert [message["id"] for message in board.introduce("b").to_client] == [0]


def test_when_no_server_can_be_reached_the_client_is_told_and_may_try_again() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    board.fail("a", "initialize")
    said = board.fail("b", "initialize", message="connection refused")
    assert error_codes(said.to_client) == [(0, -32603)]
    assert "b: it refuses the handshake: connection refused" in said.to_client[0]["error"]["message"]
    assert board.ask(1, "initialize", **CLIENT).methods == [("a", "initialize"), ("b", "initialize")]
    board.introduce("a")
    assert [message["id"] for message in board.introduce("b").to_client] == [1]


def test_when_no_server_says_anything_the_client_is_told_in_the_end() -> None:
    board = Board(handshake_time=60)
    board.ask(0, "initialize", **CLIENT)
    assert error_codes(board.wait(60).to_client) == [(0, -32603)]


def test_a_server_that_comes_later_is_told_what_it_has_missed_and_the_client_that_lists_have_changed() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    board.introduce("a")
    board.fail("b", "initialize")
    board.client(method="notifications/initialized")
    board.ask(1, "logging/setLevel", level="debug")
    assert board.wait(0.9) == NOTHING
    assert board.wait(0.1).methods == [("b", "initialize")]
    said = board.introduce("b", {"tools": {}, "logging": {}})
    assert said.methods == [("b", "notifications/initialized"), ("b", "logging/setLevel")]
    assert said.to_servers[1][1]["params"] == {"level": "debug"}
    assert said.to_client == changed("tools")


def test_a_server_that_can_not_be_reached_is_asked_ever_more_rarely() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    board.introduce("b")
    waits = []
    for _ in range(8):
        board.fail("a", "initialize")
        waits.append(board.merger.deadline - board.now)
        assert board.wait(waits[-1]).methods == [("a", "initialize")]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_server_of_a_revision_that_we_do_not_know_is_missing() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    (note,) = board.introduce("a", protocolVersion="2031-01-01").notes
    assert note.startswith("a: it answers the handshake with revision '2031-01-01'")


def test_a_second_initialize_before_the_answer_to_the_first_is_refused() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    assert error_codes(board.ask(1, "initialize", **CLIENT).to_client) == [(1, -32600)]


def test_what_a_client_says_too_early_waits_for_the_answer() -> None:
    board = Board("a")
    board.ask(0, "initialize", **CLIENT)
    assert board.client(method="notifications/initialized") == NOTHING
    assert board.ask(1, "tools/list") == NOTHING
    assert board.ask(2, "prompts/list") == NOTHING
    assert board.client(method="notifications/cancelled", params={"requestId": 2}) == NOTHING
    assert [message["id"] for message in board.ask(3, "ping").to_client] == [3]
    said = board.introduce("a")
    assert said.methods == [("a", "notifications/initialized"), ("a", "tools/list")]


# Requests


def test_a_ping_is_answered_by_us_on_both_sides() -> None:
    board = Board().open()
    assert board.ask(1, "ping") == Said([{"jsonrpc": "2.0", "id": 1, "result": {}}], [], [], [])
    assert board.server("a", id=1, method="ping") == Said([], [("a", {"jsonrpc": "2.0", "id": 1, "result": {}})], [], [])


def test_a_call_goes_to_its_owner_under_the_name_that_it_knows() -> None:
    board = Board().open()
    assert board.list_tools(a=["echo", "one"], b=["echo", "two"]) == ["a__echo", "one", "b__echo", "two"]
    (call,) = board.ask(1, "tools/call", name="b__echo", arguments={"x": 1}).to_servers
    assert call == (
        "b",
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"x": 1}}},
    )
    assert board.ask(2, "tools/call", name="one").methods == [("a", "tools/call")]
    answer = board.server("b", id=1, result={"content": []})
    assert answer.to_client == [{"jsonrpc": "2.0", "id": 1, "result": {"content": []}}]


def test_bytes_pass_as_they_are() -> None:
    merger = Board().open()
    merger.list_tools(a=["one"], b=[])
    raw = b'{"jsonrpc": "2.0","id":1 ,"method":"tools/call","params":{"name":"one","arguments":{"n":1E400,"s":"\\ud800"}}}'
    assert merger.merger.from_client(parse_line(raw), 0).to_servers == (("a", raw),)
    answer = b'{"result" : {"n":1E400},"jsonrpc":"2.0","id":1}'
    assert merger.merger.from_server("a", recognise(answer), 0).to_client == (answer,)


def test_nobody_answers_for_another() -> None:
    board = Board().open()
    board.list_tools(a=["one"], b=[])
    board.ask(1, "tools/call", name="one")
    assert board.server("b", id=1, result={}) == NOTHING
    assert board.server("b", id=7, result={}) == NOTHING


def test_a_tool_that_was_never_listed_is_looked_for() -> None:
    board = Board().open()
    assert board.ask(1, "tools/call", name="two").methods == [("a", "tools/list"), ("b", "tools/list")]
    board.answer("a", "tools/list", tools=[])
    assert board.answer("b", "tools/list", tools=[{"name": "two"}]).methods == [("b", "tools/call")]


def test_a_tool_that_nobody_has_is_refused_and_who_is_missing_is_said() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    board.introduce("a")
    board.fail("b", "initialize", message="connection refused")
    board.client(method="notifications/initialized")
    board.ask(1, "tools/call", name="x")
    said = board.answer("a", "tools/list", tools=[])
    assert error_codes(said.to_client) == [(1, -32602)]
    why = "Unknown tool: x (not there: b: it refuses the handshake: connection refused)"
    assert said.to_client[0]["error"]["message"] == why


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read", "completion/complete"])
@pytest.mark.parametrize("params", [{}, {"name": 7, "uri": None, "ref": []}])
def test_a_request_that_names_nothing_is_refused(method: str, params: Any) -> None:
    board = Board().open()
    assert error_codes(board.ask(1, method, **params).to_client) == [(1, -32602)]


def test_a_name_that_the_client_was_told_once_is_understood_until_it_is_anothers() -> None:
    board = Board("a", "b").open("a")
    board.fail("b", "initialize")
    assert board.list_tools(a=["echo"]) == ["echo"]
    board.wait(1)
    board.introduce("b")
    assert board.list_tools(a=["echo"], b=["echo"]) == ["a__echo", "b__echo"]
    assert board.ask(1, "tools/call", name="echo").methods == [("a", "tools/call")]
    # And so is the long name of what has a short one.
    assert board.list_tools(a=["echo", "one"], b=["echo"]) == ["a__echo", "one", "b__echo"]
    assert board.ask(2, "tools/call", name="a__one").methods == [("a", "tools/call")]


def test_an_id_that_is_in_flight_is_refused() -> None:
    board = Board().open()
    board.ask(1, "tools/call", name="x")
    with pytest.raises(InvalidRequest):
        board.ask(1, "tools/list")


def test_a_cancelled_call_is_cancelled_where_it_runs() -> None:
    board = Board().open()
    board.list_tools(a=["one"], b=[])
    board.ask(1, "tools/call", name="one")
    said = board.client(method="notifications/cancelled", params={"requestId": 1})
    assert said.methods == [("a", "notifications/cancelled")]
    assert board.client(method="notifications/cancelled", params={"requestId": 1}) == NOTHING
    assert board.server("a", id=1, result={}) == NOTHING


def test_a_call_that_is_cancelled_while_its_owner_is_looked_for_is_never_made() -> None:
    board = Board("a").open()
    board.ask(1, "tools/call", name="one")
    assert board.client(method="notifications/cancelled", params={"requestId": 1}) == NOTHING
    assert board.answer("a", "tools/list", tools=[{"name": "one"}]) == NOTHING


def test_a_prompt_is_asked_for_and_completed_at_its_owner() -> None:
    board = Board().open()
    board.ask(1, "prompts/list")
    board.answer("a", "prompts/list", prompts=[{"name": "greet"}])
    board.answer("b", "prompts/list", prompts=[{"name": "greet"}])
    (get,) = board.ask(2, "prompts/get", name="b__greet").to_servers
    assert (get[0], get[1]["params"]) == ("b", {"name": "greet"})
    argument = {"name": "n", "value": "A"}
    (complete,) = board.ask(
        3, "completion/complete", ref={"type": "ref/prompt", "name": "b__greet"}, argument=argument
    ).to_servers
    assert (complete[0], complete[1]["params"]["ref"]) == ("b", {"type": "ref/prompt", "name": "greet"})


class Library(Board):
    """Two servers with resources: `b` has a template, both have `x:both`."""

    def __init__(self) -> None:
        super().__init__()
        self.open()
        self.ask("r", "resources/list")
        self.answer("a", "resources/list", resources=[{"uri": "x:a"}, {"uri": "x:both", "name": "a's"}])
        (self.listed,) = self.answer("b", "resources/list", resources=[{"uri": "x:both"}, {"uri": "x:b"}]).to_client
        self.ask("t", "resources/templates/list")
        self.answer("a", "resources/templates/list", resourceTemplates=[])
        self.answer("b", "resources/templates/list", resourceTemplates=[{"uriTemplate": "y:{n}"}])


def test_a_resource_that_two_have_is_the_firsts() -> None:
    library = Library()
    assert library.listed["result"]["resources"] == [{"uri": "x:a"}, {"uri": "x:both", "name": "a's"}, {"uri": "x:b"}]
    assert library.ask(1, "resources/read", uri="x:both").methods == [("a", "resources/read")]


@pytest.mark.parametrize(("uri", "owner"), [("x:a", "a"), ("x:b", "b"), ("y:7", "b"), ("z:7", "a")])
def test_a_resource_is_read_where_it_is_listed_or_where_its_template_is_or_at_the_first(uri: str, owner: str) -> None:
    assert Library().ask(1, "resources/read", uri=uri).methods == [(owner, "resources/read")]


@pytest.mark.parametrize("code", [-32002, -32601, -32602, 0])
def test_a_resource_that_nobody_lists_is_asked_for_at_one_after_the_other(code: int) -> None:
    library = Library()
    library.ask(1, "resources/read", uri="z:7")
    assert library.fail("a", "resources/read", code).methods == [("b", "resources/read")]
    said = library.answer("b", "resources/read", contents=[])
    assert said.to_client == [{"jsonrpc": "2.0", "id": 1, "result": {"contents": []}}]


def test_when_nobody_has_it_the_first_refusal_is_the_answer() -> None:
    library = Library()
    library.ask(1, "resources/read", uri="z:7")
    library.fail("a", "resources/read", -32002, "Resource not found")
    assert error_codes(library.fail("b", "resources/read", -32602).to_client) == [(1, -32002)]


def test_any_other_error_is_the_answer_at_once() -> None:
    library = Library()
    library.ask(1, "resources/read", uri="z:7")
    assert error_codes(library.fail("a", "resources/read", -32603).to_client) == [(1, -32603)]


def test_what_is_listed_is_not_asked_for_elsewhere() -> None:
    library = Library()
    library.ask(1, "resources/read", uri="x:a")
    assert error_codes(library.fail("a", "resources/read", -32002).to_client) == [(1, -32002)]


def test_lists_are_gathered_before_a_resource_is_looked_for() -> None:
    board = Board().open()
    assert board.ask(1, "resources/read", uri="x:b").methods == [("a", "resources/list"), ("b", "resources/list")]
    board.answer("a", "resources/list", resources=[])
    said = board.answer("b", "resources/list", resources=[{"uri": "x:b"}])
    assert said.methods == [("a", "resources/templates/list"), ("b", "resources/templates/list")]
    board.answer("a", "resources/templates/list", resourceTemplates=[])
    assert board.fail("b", "resources/templates/list", -32601).methods == [("b", "resources/read")]


def test_a_subscription_ends_where_it_began() -> None:
    library = Library()
    library.ask(1, "resources/subscribe", uri="z:7")
    library.fail("a", "resources/subscribe", -32602)
    library.answer("b", "resources/subscribe")
    assert library.ask(2, "resources/unsubscribe", uri="z:7").methods == [("b", "resources/unsubscribe")]
    updated = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "z:7"}}
    assert library.server("b", method="notifications/resources/updated", params={"uri": "z:7"}).to_client == [updated]


def test_a_method_that_we_do_not_know_is_asked_of_all_until_one_does() -> None:
    board = Board().open()
    assert board.ask(1, "vendor/thing").methods == [("a", "vendor/thing")]
    assert board.fail("a", "vendor/thing", -32601).methods == [("b", "vendor/thing")]
    assert error_codes(board.fail("b", "vendor/thing", -32601).to_client) == [(1, -32601)]


def test_tasks_are_not_served() -> None:
    assert error_codes(Board().open().ask(1, "tasks/get", taskId="t").to_client) == [(1, -32601)]


def test_a_level_is_told_to_all_that_log() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    board.introduce("a", {"tools": {}})
    board.introduce("b", {"logging": {}})
    board.client(method="notifications/initialized")
    said = board.ask(1, "logging/setLevel", level="info")
    assert said.methods == [("b", "logging/setLevel")]
    assert said.to_client == [{"jsonrpc": "2.0", "id": 1, "result": {}}]
    assert board.answer("b", "logging/setLevel") == NOTHING
    assert error_codes(board.ask(2, "logging/setLevel", level="loud").to_client) == [(2, -32602)]


# Notifications


def test_progress_passes_for_the_server_that_works_on_the_request_only() -> None:
    board = Board().open()
    board.list_tools(a=["one"], b=[])
    board.ask(1, "tools/call", name="one", _meta={"progressToken": "t"})
    params = {"progressToken": "t", "progress": 1}
    assert board.server("b", method="notifications/progress", params=params) == NOTHING
    assert board.server("a", method="notifications/progress", params=params).to_client == [
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
    ]


def test_a_change_is_told_once_until_the_client_asks_again() -> None:
    board = Board().open()
    told = board.server("a", method="notifications/tools/list_changed")
    assert told.to_client == changed("tools")
    assert board.server("b", method="notifications/tools/list_changed") == NOTHING
    assert board.server("b", method="notifications/prompts/list_changed").to_client == changed("prompts")
    board.ask(1, "tools/list")
    assert board.server("b", method="notifications/tools/list_changed").to_client == changed("tools")


def test_what_the_client_notifies_of_is_told_to_all() -> None:
    said = Board().open().client(method="notifications/roots/list_changed")
    assert said.methods == [("a", "notifications/roots/list_changed"), ("b", "notifications/roots/list_changed")]


def test_log_messages_pass() -> None:
    params = {"level": "info", "data": "x"}
    said = Board().open().server("a", method="notifications/message", params=params)
    assert said.to_client == [{"jsonrpc": "2.0", "method": "notifications/message", "params": params}]


# Questions


def question(board: Board, server: str, question_id: Any, request_id: Any = None, **meta: Any) -> Said:
    params = {"message": "?", **({"_meta": meta} if meta else {})}
    return board.server(server, request_id, id=question_id, method="elicitation/create", params=params)


def test_questions_with_one_id_of_two_servers_are_told_apart() -> None:
    board = Board().open()
    ids = [question(board, server, 1).to_client[0]["id"] for server in ("a", "b")]
    assert ids == [1, 2]
    said = board.client(id=2, result={"action": "accept"})
    assert said.to_servers == [("b", {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}})]
    said = board.client(id=1, error={"code": -1, "message": "no"})
    assert said.to_servers == [("a", {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}})]
    assert board.client(id=1, result={}) == NOTHING


def test_progress_on_a_question_comes_back_under_the_token_of_whoever_asked() -> None:
    board = Board().open()
    question(board, "a", "q", progressToken="t")
    (asked,) = question(board, "b", "q", progressToken="t").to_client
    token = asked["params"]["_meta"]["progressToken"]
    said = board.client(method="notifications/progress", params={"progressToken": token, "progress": 1})
    assert [(server, message["params"]["progressToken"]) for server, message in said.to_servers] == [("b", "t")]


def test_a_question_that_belongs_to_a_call_says_so_and_one_that_belongs_to_nothing_known_does_not() -> None:
    board = Board().open()
    board.list_tools(a=["one"], b=[])
    board.ask(7, "tools/call", name="one")
    assert question(board, "a", 1, 7).related == [7]
    assert question(board, "a", 2, "gone").related == []


def test_a_question_that_is_withdrawn_is_withdrawn_under_the_id_that_the_client_knows() -> None:
    board = Board().open()
    question(board, "a", "q")
    question(board, "b", "q")
    said = board.server("b", method="notifications/cancelled", params={"requestId": "q"})
    assert [message["params"]["requestId"] for message in said.to_client] == [2]
    assert board.server("b", method="notifications/cancelled", params={"requestId": "q"}) == NOTHING


def test_a_server_that_asks_and_asks_is_stopped() -> None:
    board = Board().open()
    for number in range(1000):
        question(board, "a", number)
    said = question(board, "a", 1000)
    assert (said.to_client, error_codes([message for _, message in said.to_servers])) == ([], [(1000, -32000)])
    assert question(board, "b", 0).to_client


# The end of a server


def test_when_a_server_ends_what_waits_for_it_is_answered_and_its_part_goes() -> None:
    board = Board().open()
    board.list_tools(a=["one"], b=["two"])
    board.ask(1, "tools/call", name="one")
    question(board, "a", "q")
    said = board.lose("a")
    assert error_codes(said.to_client[:1]) == [(1, -32603)]
    assert [message["method"] for message in said.to_client[1:]] == [
        "notifications/cancelled",
        *(f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")),
    ]
    assert board.list_tools(b=["two"]) == ["two"]
    said = board.ask(2, "tools/call", name="one")
    assert error_codes(said.to_client) == [(2, -32603)]
    assert "a is not there" in said.to_client[0]["error"]["message"]


def test_a_list_does_not_wait_for_a_server_that_has_ended() -> None:
    board = Board().open()
    board.ask(1, "tools/list")
    board.answer("b", "tools/list", tools=[{"name": "two"}])
    said = board.lose("a")
    assert said.to_client[0] == {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "two"}]}}


def test_a_handshake_does_not_wait_for_a_server_that_has_ended() -> None:
    board = Board()
    board.ask(0, "initialize", **CLIENT)
    board.introduce("b", EVERYTHING)
    said = board.lose("a")
    assert [message["id"] for message in said.to_client] == [0]
    assert board.merger.deadline == math.inf


def test_an_answer_that_is_no_json_inside_is_a_server_that_is_missing() -> None:
    merger = Merger(["a"], "1")
    (sent,) = merger.from_client(parse_line(line(id=0, method="initialize", params=CLIENT)), 0).to_servers
    filling = b" " * 20_000
    broken = b'{"jsonrpc":"2.0","id":"trioproxy:merge-1","result":{nonsense%b}}' % filling
    step = merger.from_server("a", recognise(broken), 0)
    assert sent[0] == "a"
    assert b'"error"' in bytes(step.to_client[0] if isinstance(step.to_client[0], bytes) else b"")
