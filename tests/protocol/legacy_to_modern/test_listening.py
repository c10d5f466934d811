"""A legacy client hears what a modern server says on `subscriptions/listen` (2026-07-28, Subscriptions)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.protocol.legacy_to_modern.pair import ENVELOPE, Pair, encode, values
from trioproxy.protocol.translation import Step

CHANGES = {"tools": {"listChanged": True}, "prompts": {"listChanged": False}, "resources": {"subscribe": True}}
RESOURCES = {"resources": {"subscribe": True, "listChanged": False}}
CONFIG = "file:///project/config.json"
NOTES = "file:///notes"


def tagged(listen_id: str) -> dict[str, Any]:
    return {"_meta": {"io.modelcontextprotocol/subscriptionId": listen_id}}


def shaken(capabilities: dict[str, Any]) -> Pair:
    pair = Pair()
    pair.shake_hands(server_capabilities=capabilities)
    return pair


def acknowledge(pair: Pair, listen_id: str, *uris: str, **kinds: bool) -> Step:
    filter_ = {**kinds, **({"resourceSubscriptions": list(uris)} if uris else {})}
    params = {**tagged(listen_id), "notifications": filter_}
    return pair.server_says(method="notifications/subscriptions/acknowledged", params=params)


def subscribe(pair: Pair, uri: Any, request_id: int = 1, method: str = "resources/subscribe") -> Step:
    return pair.client_says(id=request_id, method=method, params={"uri": uri})


def updated(listen_id: str, uri: str = CONFIG) -> bytes:
    return encode(method="notifications/resources/updated", params={**tagged(listen_id), "uri": uri})


def filters(step: Step) -> list[Any]:
    """Return the ids and filters of the listens that are opened."""
    listens = [message for message in values(step.to_server) if message["method"] == "subscriptions/listen"]
    return [(message["id"], message["params"]["notifications"]) for message in listens]


def cancelled(step: Step) -> list[Any]:
    """Return the ids of the listens that are cancelled."""
    messages = [message for message in values(step.to_server) if message["method"] == "notifications/cancelled"]
    return [message["params"]["requestId"] for message in messages]


# Opening


def test_a_client_that_is_ready_hears_of_the_lists_that_change() -> None:
    pair = Pair()
    lists = {name: {"listChanged": True} for name in ("tools", "prompts", "resources")}
    kinds = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    params = {"notifications": kinds, "_meta": ENVELOPE}
    assert values(pair.shake_hands(server_capabilities=lists).to_server) == [
        {"jsonrpc": "2.0", "id": "trioproxy:2", "method": "subscriptions/listen", "params": params}
    ]
    assert pair.client_says(method="notifications/initialized") == Step()


def test_where_there_is_nothing_to_hear_nobody_listens() -> None:
    capabilities = {"tools": {}, "prompts": {"listChanged": False}, "resources": {"subscribe": True}}
    assert Pair().shake_hands(server_capabilities=capabilities) == Step()


def test_notifications_lose_the_subscription_id_and_nothing_else() -> None:
    pair = shaken(CHANGES)
    assert acknowledge(pair, "trioproxy:2", toolsListChanged=True) == Step()
    raw = (
        b'{"jsonrpc":"2.0","method":"a/b","params":{"n":1e999,'
        b'"_meta":{"io.modelcontextprotocol/subscriptionId":"trioproxy:2"%b}}}'
    )
    assert pair.server_says(raw % b"") == Step(to_client=(b'{"jsonrpc":"2.0","method":"a/b","params":{"n":1e999}}',))
    assert pair.server_says(raw % b',"v/w":1') == Step(
        to_client=(b'{"jsonrpc":"2.0","method":"a/b","params":{"n":1e999,"_meta":{"v/w":1}}}',)
    )


def test_nothing_is_heard_before_the_acknowledgment() -> None:
    pair = shaken(CHANGES)
    assert pair.server_says(method="notifications/tools/list_changed", params=tagged("trioproxy:2")) == Step()


# Subscribing


def test_a_subscription_is_granted_when_the_server_acknowledges_it() -> None:
    pair = shaken(RESOURCES)
    step = subscribe(pair, CONFIG)
    assert (filters(step), step.to_client) == ([("trioproxy:2", {"resourceSubscriptions": [CONFIG]})], ())
    step = acknowledge(pair, "trioproxy:2", CONFIG)
    assert (values(step.to_client), step.to_server) == ([{"jsonrpc": "2.0", "id": 1, "result": {}}], ())
    assert values(pair.server_says(updated("trioproxy:2")).to_client) == [
        {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": CONFIG}}
    ]


def test_while_one_listen_takes_the_place_of_another_nothing_is_heard_twice() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, CONFIG)
    acknowledge(pair, "trioproxy:2", CONFIG)
    step = subscribe(pair, NOTES, 2)
    assert filters(step) == [("trioproxy:3", {"resourceSubscriptions": [NOTES, CONFIG]})]
    assert cancelled(step) == []
    assert len(pair.server_says(updated("trioproxy:2")).to_client) == 1
    assert cancelled(acknowledge(pair, "trioproxy:3", NOTES, CONFIG)) == ["trioproxy:2"]
    assert pair.server_says(updated("trioproxy:2")) == Step()
    assert len(pair.server_says(updated("trioproxy:3")).to_client) == 1


def test_what_the_client_wants_meanwhile_goes_into_the_next_listen() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, "a:1", 1)
    for number in (2, 3):
        assert subscribe(pair, f"a:{number}", number) == Step()
    assert subscribe(pair, "a:2", 4, "resources/unsubscribe") == Step()
    step = acknowledge(pair, "trioproxy:2", "a:1")
    assert filters(step) == [("trioproxy:3", {"resourceSubscriptions": ["a:1", "a:3"]})]
    assert cancelled(step) == []
    step = acknowledge(pair, "trioproxy:3", "a:1", "a:3")
    assert [(message["id"], message["result"]) for message in values(step.to_client)] == [(2, {}), (3, {}), (4, {})]
    assert cancelled(step) == ["trioproxy:2"]


def test_a_subscription_that_changes_nothing_is_granted_at_once() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, CONFIG)
    acknowledge(pair, "trioproxy:2", CONFIG)
    assert subscribe(pair, CONFIG, 2) == Step(to_client=(b'{"jsonrpc":"2.0","id":2,"result":{}}',))
    unsubscribed = subscribe(pair, NOTES, 3, "resources/unsubscribe")
    assert unsubscribed == Step(to_client=(b'{"jsonrpc":"2.0","id":3,"result":{}}',))


def test_the_last_unsubscription_leaves_nothing_to_listen_to() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, CONFIG)
    acknowledge(pair, "trioproxy:2", CONFIG)
    step = subscribe(pair, CONFIG, 2, "resources/unsubscribe")
    assert (len(step.to_client), cancelled(step), filters(step)) == (1, ["trioproxy:2"], [])
    assert pair.server_says(updated("trioproxy:2")) == Step()
    assert pair.translator.deadline == math.inf


def test_an_unsubscription_leaves_the_lists() -> None:
    pair = shaken(CHANGES)
    acknowledge(pair, "trioproxy:2", toolsListChanged=True)
    subscribe(pair, CONFIG)
    acknowledge(pair, "trioproxy:3", CONFIG, toolsListChanged=True)
    step = subscribe(pair, CONFIG, 2, "resources/unsubscribe")
    assert filters(step) == [("trioproxy:4", {"toolsListChanged": True})]


def test_a_uri_that_the_server_does_not_honour_is_refused_each_time() -> None:
    pair = shaken(RESOURCES)
    for number, listen_id in ((1, "trioproxy:2"), (2, "trioproxy:3")):
        assert filters(subscribe(pair, CONFIG, number)) == [(listen_id, {"resourceSubscriptions": [CONFIG]})]
        (response,) = values(acknowledge(pair, listen_id).to_client)
        assert (response["id"], response["error"]["code"], response["error"]["data"]) == (number, -32602, {"uri": CONFIG})


@pytest.mark.parametrize("uri", [None, 3, ["a:b"]])
def test_a_uri_is_a_string(uri: Any) -> None:
    (response,) = values(subscribe(shaken(RESOURCES), uri).to_client)
    assert response["error"]["code"] == -32602


def test_a_cancelled_subscription_is_not_answered() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, CONFIG)
    assert pair.client_says(method="notifications/cancelled", params={"requestId": 1}) == Step()
    assert acknowledge(pair, "trioproxy:2", CONFIG) == Step()


def test_a_cancelled_subscription_that_still_waits_for_its_turn_is_not_made() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, CONFIG)
    subscribe(pair, NOTES, 2)
    subscribe(pair, "a:3", 3)
    pair.client_says(method="notifications/cancelled", params={"requestId": 2})
    step = acknowledge(pair, "trioproxy:2", CONFIG)
    assert filters(step) == [("trioproxy:3", {"resourceSubscriptions": ["a:3", CONFIG]})]


def test_a_subscription_before_the_answer_to_initialize_is_refused() -> None:
    pair = Pair()
    pair.initialize()
    (response,) = values(subscribe(pair, CONFIG).to_client)
    assert response["error"]["code"] == -32600


# Ends


@pytest.mark.parametrize(
    "end",
    [
        encode(id="trioproxy:2", result={"resultType": "complete", "_meta": {}}),
        encode(id="trioproxy:2", error={"code": -32603, "message": "restarting"}),
        encode(method="notifications/cancelled", params={"requestId": "trioproxy:2"}),
    ],
)
def test_a_listen_that_the_server_ends_is_opened_again_later_and_later(end: bytes) -> None:
    pair = shaken(CHANGES)
    acknowledge(pair, "trioproxy:2", toolsListChanged=True)
    assert pair.server_says(end) == Step()
    pauses = []
    for number in range(3, 10):
        before = pair.now
        assert pair.translator.wake(before) == Step()
        assert filters(pair.wait()) == [(f"trioproxy:{number}", {"toolsListChanged": True})]
        pauses.append(pair.now - before)
        pair.server_says(id=f"trioproxy:{number}", error={"code": -32603, "message": "no"})
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_a_listen_that_lasted_is_soon_opened_again() -> None:
    pair = shaken(CHANGES)
    pair.server_says(id="trioproxy:2", result={})
    pair.wait()
    acknowledge(pair, "trioproxy:3", toolsListChanged=True)
    pair.now += 30
    pair.server_says(id="trioproxy:3", result={})
    assert pair.translator.deadline == pair.now + 1


def test_an_end_said_twice_counts_once() -> None:
    pair = shaken(CHANGES)
    pair.server_says(method="notifications/cancelled", params={"requestId": "trioproxy:2"})
    assert pair.server_says(id="trioproxy:2", result={}) == Step()
    assert pair.translator.deadline == 1


def test_a_subscription_does_not_wait_for_a_listen_that_has_ended() -> None:
    pair = shaken(CHANGES)
    acknowledge(pair, "trioproxy:2", toolsListChanged=True)
    pair.server_says(id="trioproxy:2", result={})
    wanted = {"toolsListChanged": True, "resourceSubscriptions": [CONFIG]}
    assert filters(subscribe(pair, CONFIG)) == [("trioproxy:3", wanted)]
    assert len(acknowledge(pair, "trioproxy:3", CONFIG, toolsListChanged=True).to_client) == 1
    assert pair.translator.deadline == math.inf


def test_a_subscription_fails_with_its_listen_and_what_was_heard_before_is_heard_on() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, CONFIG)
    acknowledge(pair, "trioproxy:2", CONFIG)
    subscribe(pair, NOTES, 2)
    (response,) = values(pair.server_says(id="trioproxy:3", error={"code": -32000, "message": "full"}).to_client)
    assert (response["id"], response["error"]["code"]) == (2, -32603)
    assert response["error"]["message"].endswith("error -32000: full")
    assert len(pair.server_says(updated("trioproxy:2")).to_client) == 1
    assert pair.translator.deadline == math.inf


def test_a_first_subscription_that_fails_is_not_tried_again() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, CONFIG)
    pair.server_says(id="trioproxy:2", error={"code": -32601, "message": "no"})
    assert pair.translator.deadline == math.inf


def test_a_listen_that_is_never_acknowledged_is_given_up() -> None:
    pair = shaken(RESOURCES)
    subscribe(pair, CONFIG)
    step = pair.wait()
    assert pair.now == 30
    assert cancelled(step) == ["trioproxy:2"]
    (response,) = values(step.to_client)
    assert (response["id"], response["error"]["code"]) == (1, -32603)


def test_an_old_listen_that_ends_early_is_replaced_all_the_same() -> None:
    pair = shaken(CHANGES)
    acknowledge(pair, "trioproxy:2", toolsListChanged=True)
    subscribe(pair, CONFIG)
    assert pair.server_says(id="trioproxy:2", result={}) == Step()
    step = acknowledge(pair, "trioproxy:3", CONFIG, toolsListChanged=True)
    assert (len(step.to_client), step.to_server) == (1, ())


def test_a_new_handshake_ends_what_the_former_listened_to() -> None:
    pair = shaken(CHANGES)
    acknowledge(pair, "trioproxy:2", toolsListChanged=True)
    (discover,) = values(pair.initialize().to_server)
    step = pair.server_says(id=discover["id"], result={"supportedVersions": ["2026-07-28"], "capabilities": {}})
    assert cancelled(step) == ["trioproxy:2"]
