"""A modern client hears of changes in the requests that it keeps open for them (2026-07-28, Subscriptions)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.modern_to_legacy.desk import NOTHING, Desk, Said, error_codes, to_client, to_server

TOOLS_CHANGED = {"method": "notifications/tools/list_changed"}
CONFIG = "file:///project/config.json"
ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


def listen(desk: Desk, request_id: int | str, *uris: str, **filters: Any) -> Said:
    wanted = {**filters, "resourceSubscriptions": list(uris)} if uris else filters
    return desk.ask(request_id, "subscriptions/listen", {"notifications": wanted})


def acknowledged(request_id: int | str, **honoured: Any) -> dict[str, Any]:
    meta = {"io.modelcontextprotocol/subscriptionId": request_id}
    return {
        "method": "notifications/subscriptions/acknowledged",
        "params": {"_meta": meta, "notifications": honoured},
    }


def subscribe(number: int, uri: str, method: str = "resources/subscribe") -> dict[str, Any]:
    return {"id": f"trioproxy:{number}", "method": method, "params": {"uri": uri}}


def agree(desk: Desk, number: int) -> Said:
    return desk.server(id=f"trioproxy:{number}", result={})


def refuse(desk: Desk, number: int) -> Said:
    return desk.server(id=f"trioproxy:{number}", error={"code": -32002, "message": "no such resource"})


def update(desk: Desk, uri: str) -> list[Any]:
    """Let the server say that a resource has changed, and return the ids of those who hear of it."""
    frames = desk.server(method="notifications/resources/updated", params={"uri": uri}).to_client
    assert all(frame["params"]["uri"] == uri for frame in frames)
    return [frame["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] for frame in frames]


def test_a_subscription_is_acknowledged_once_the_server_has_agreed() -> None:
    """The specification's own example (§Opening a Stream, §Acknowledgment)."""
    desk = Desk()
    assert listen(desk, 1, CONFIG, toolsListChanged=True) == to_server(subscribe(2, CONFIG))
    assert agree(desk, 2) == to_client(acknowledged(1, toolsListChanged=True, resourceSubscriptions=[CONFIG]))


def test_only_what_the_server_promises_is_acknowledged() -> None:
    """§Acknowledgment: "Notification types the server does not support are omitted"."""
    desk = Desk({"tools": {}, "prompts": {"listChanged": True}, "resources": {"subscribe": False, "listChanged": "yes"}})
    assert listen(desk, 1, CONFIG, **ALL) == to_client(acknowledged(1, promptsListChanged=True))
    assert listen(desk, 2, toolsListChanged=True) == to_client(acknowledged(2))
    bare = Desk({"tools": True})
    assert listen(bare, 3, CONFIG, **ALL) == to_client(acknowledged(3))


@pytest.mark.parametrize("wish", [False, None, 1, "yes"])
def test_only_what_the_client_asks_for_is_acknowledged(wish: Any) -> None:
    assert listen(Desk(), 1, toolsListChanged=wish, more=True) == to_client(acknowledged(1))


@pytest.mark.parametrize("request_id", [1, "1", "listen-1"])
def test_every_frame_carries_the_id_of_its_request_with_its_type(request_id: int | str) -> None:
    desk = Desk()
    assert listen(desk, request_id, toolsListChanged=True) == to_client(acknowledged(request_id, toolsListChanged=True))
    meta = {"io.modelcontextprotocol/subscriptionId": request_id}
    assert desk.server(**TOOLS_CHANGED) == to_client({**TOOLS_CHANGED, "params": {"_meta": meta}})
    said = desk.server(**TOOLS_CHANGED, params={"_meta": {"a": 1}, "b": 2})
    assert said == to_client({**TOOLS_CHANGED, "params": {"_meta": {"a": 1, **meta}, "b": 2}})


def test_a_change_is_heard_by_all_who_asked_for_it_and_by_nobody_else() -> None:
    """ "The server MUST NOT send notification types the client has not explicitly requested"."""
    desk = Desk()
    listen(desk, 1, toolsListChanged=True)
    listen(desk, 2, resourcesListChanged=True)
    listen(desk, 3, toolsListChanged=True, resourcesListChanged=True)

    def heard(method: str) -> list[Any]:
        frames = desk.server(method=method).to_client
        return [frame["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] for frame in frames]

    assert heard("notifications/tools/list_changed") == [1, 3]
    assert heard("notifications/resources/list_changed") == [2, 3]
    assert heard("notifications/prompts/list_changed") == []
    assert desk.cancel(3) == NOTHING
    assert heard("notifications/tools/list_changed") == [1]


def test_nothing_is_sent_before_the_acknowledgment() -> None:
    desk = Desk()
    listen(desk, 1, CONFIG, toolsListChanged=True)
    assert desk.server(**TOOLS_CHANGED) == NOTHING
    agree(desk, 2)
    assert len(desk.server(**TOOLS_CHANGED).to_client) == 1


def test_the_server_is_subscribed_once_and_for_as_long_as_anybody_listens() -> None:
    desk = Desk()
    assert listen(desk, 1, CONFIG) == to_server(subscribe(2, CONFIG))
    assert listen(desk, 2, CONFIG) == NOTHING
    one, two = (acknowledged(n, resourceSubscriptions=[CONFIG]) for n in (1, 2))
    assert agree(desk, 2) == to_client(one, two)
    assert listen(desk, 3, CONFIG) == to_client(acknowledged(3, resourceSubscriptions=[CONFIG]))
    assert update(desk, CONFIG) == [1, 2, 3]
    assert desk.cancel(1) == NOTHING
    assert desk.cancel(3) == NOTHING
    assert update(desk, CONFIG) == [2]
    assert desk.cancel(2) == to_server(subscribe(3, CONFIG, "resources/unsubscribe"))
    assert update(desk, CONFIG) == []
    assert agree(desk, 3) == NOTHING
    assert listen(desk, 4, CONFIG) == to_server(subscribe(4, CONFIG))


def test_a_resource_that_the_server_refuses_is_left_out() -> None:
    desk = Desk()
    said = listen(desk, 1, "a:1", "a:2", "a:1", "a:3")
    assert said == to_server(subscribe(2, "a:1"), subscribe(3, "a:2"), subscribe(4, "a:3"))
    assert refuse(desk, 3) == NOTHING
    assert agree(desk, 4) == NOTHING
    assert agree(desk, 2) == to_client(acknowledged(1, resourceSubscriptions=["a:1", "a:3"]))
    assert (update(desk, "a:1"), update(desk, "a:2")) == ([1], [])
    # It may be there the next time.
    assert listen(desk, 2, "a:2") == to_server(subscribe(5, "a:2"))
    assert refuse(desk, 5) == to_client(acknowledged(2))


def test_who_leaves_before_the_server_agrees_leaves_nothing_behind() -> None:
    desk = Desk()
    listen(desk, 1, CONFIG)
    assert desk.cancel(1) == NOTHING
    assert agree(desk, 2) == to_server(subscribe(3, CONFIG, "resources/unsubscribe"))
    listen(desk, 2, CONFIG)
    desk.cancel(2)
    assert refuse(desk, 4) == NOTHING
    listen(desk, 3, CONFIG)
    desk.cancel(3)
    # Who comes meanwhile takes over what was asked for.
    assert listen(desk, 4, CONFIG) == NOTHING
    assert agree(desk, 5) == to_client(acknowledged(4, resourceSubscriptions=[CONFIG]))


@pytest.mark.parametrize(
    ("subscribed", "updated", "is_heard"),
    [
        ("file:///a", "file:///a", True),
        ("file:///a", "file:///a/b.txt", True),
        ("file:///a/", "file:///a/b.txt", True),
        ("file:///a", "file:///a#part", True),
        ("file:///a", "file:///ab", False),
        ("file:///a/b", "file:///a", False),
        ("file:///a", "file:///A", False),
    ],
)
def test_a_resource_changes_with_its_parts(subscribed: str, updated: str, is_heard: bool) -> None:
    """ResourceUpdatedNotificationParams: "This might be a sub-resource of the one that the client […] subscribed to"."""
    desk = Desk()
    listen(desk, 1, subscribed)
    agree(desk, 2)
    assert update(desk, updated) == ([1] if is_heard else [])


def test_a_change_of_no_resource_is_heard_by_nobody() -> None:
    desk = Desk()
    listen(desk, 1, CONFIG)
    agree(desk, 2)
    assert desk.server(method="notifications/resources/updated", params={"uri": 7}) == NOTHING
    assert desk.server(method="notifications/resources/updated") == NOTHING


@pytest.mark.parametrize(
    "params",
    [{}, {"notifications": None}, {"notifications": []}]
    + [{"notifications": {"resourceSubscriptions": uris}} for uris in ("a:1", {"a:1": 1}, [1], None)],
)
def test_a_filter_that_is_none_is_refused(params: dict[str, Any]) -> None:
    desk = Desk()
    said = desk.ask(1, "subscriptions/listen", params)
    assert said.to_server == []
    assert error_codes(said.to_client) == [(1, -32602)]
    assert len(listen(desk, 1).to_client) == 1
