"""Whatever several clients and their server say, in whatever order: nothing of one client's reaches another.

Each client writes its own name into all that it says, and the server writes into all that it says the name of the client
for whom it is.  Ids, tokens, URIs and cursors are the same for all, on purpose.  Where a message does not say whose it is,
the server tells nobody's secret: those are in the other tests.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ...modern import SUBSCRIPTION_ID, listen
from ...puppet import notification, progress, request, response
from .party import EVERYTHING, Party, call, cancelled, initialize

NAMES = ("A", "B", "C")
IDS = st.sampled_from([0, 1, 2, "1", "x"])
URIS = st.sampled_from(["file:///a", "file:///a/b", "file:///c"])

ACTIONS = st.one_of(
    st.tuples(st.just("call"), st.sampled_from(NAMES), IDS, st.none() | IDS, st.booleans()),
    st.tuples(st.just("listen"), st.sampled_from(NAMES), IDS),
    st.tuples(st.just("cancel"), st.sampled_from(NAMES), IDS),
    st.tuples(st.just("subscribe"), st.sampled_from(NAMES), IDS, URIS),
    st.tuples(st.just("unsubscribe"), st.sampled_from(NAMES), IDS, URIS),
    st.tuples(st.just("reply"), st.sampled_from(NAMES), IDS),
    st.tuples(st.just("forge"), st.sampled_from(NAMES), st.integers(-1, 20)),
    st.tuples(st.just("leave"), st.sampled_from(NAMES)),
    st.tuples(st.just("answer"), st.integers(0, 20), st.booleans()),
    st.tuples(st.just("report"), st.integers(0, 20)),
    st.tuples(st.just("event"), st.integers(0, 20)),
    st.tuples(st.just("update"), URIS),
    st.tuples(st.just("ask"), IDS),
    st.tuples(st.just("ask alone"), st.sampled_from(NAMES), IDS),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 100])),
)


class Server:
    """A server that knows whose each request is, since each says so, and tells each only what is theirs."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def hear(self, messages: list[Any]) -> None:
        for message in messages:
            if "id" in message and "method" in message:
                self.requests.append(message)

    def pick(self, index: int) -> Any:
        return self.requests[index % len(self.requests)] if self.requests else None


@settings(max_examples=400, deadline=None)
@given(st.lists(ACTIONS, max_size=60))
def test_nothing_of_one_client_reaches_another(actions: list[Any]) -> None:
    party, server = Party(*NAMES), Server()
    party.shake_hands(*NAMES, **EVERYTHING)
    subscribed: dict[str, set[str]] = {name: set() for name in NAMES}
    asked: dict[Any, str] = {}
    generation = dict.fromkeys(NAMES, 0)
    made: dict[str, str] = {}

    def check(said: dict[str, list[Any]]) -> None:
        for name, messages in said.items():
            for message in messages:
                text = json.dumps(message)
                for other in NAMES:
                    mine = f"of {name}{generation[name]}" if other == name else f"of {other}"
                    assert other == name or mine not in text, (name, message)
                if "of " in text:
                    assert f"of {name}{generation[name]}" in text, (name, message)

    def speak(name: str, message: Any) -> None:
        said, heard = party.both(name, message)
        check(said)
        server.hear(heard)

    for action, *rest in actions:
        if action in ("call", "listen", "cancel", "subscribe", "unsubscribe", "reply", "forge"):
            name, what = rest[0], rest[1]
            mark = f"of {name}{generation[name]}"
            if action == "call":
                task: dict[str, Any] = {"task": {}} if rest[3] else {}
                speak(name, call(what, token=rest[2], secret=mark, cursor="c", **task))
            elif action == "listen":
                message = listen(what)
                message["params"]["secret"] = mark
                speak(name, message)
            elif action == "cancel":
                speak(name, cancelled(what))
            elif action == "reply":
                said, heard = party.both(name, response(what, secret=mark))
                assert said == {}
                for message in heard:
                    assert asked.pop(message["id"]) == name
            elif action == "forge":
                # What would be another's, if our numbers were taken at a client's word.
                speak(name, progress(what))
                task_id = f"task {what}"
                said, heard = party.both(name, request("tasks/get", 77, taskId=task_id))
                assert bool(heard) == (made.get(task_id) == mark)
            else:
                (subscribed[name].add if action == "subscribe" else subscribed[name].discard)(rest[2])
                speak(name, request(f"resources/{action}", what, uri=rest[2], secret=mark))
        elif action == "leave":
            name = rest[0]
            server.hear(party.leave(name))
            asked = {key: whose for key, whose in asked.items() if whose != name}
            subscribed[name].clear()
            generation[name] += 1
            party.join(name)
            check({})
            speak(name, initialize(capabilities=EVERYTHING))
        elif action == "wait":
            party.now += rest[0]
        elif action == "update":
            said = party.tell(notification("notifications/resources/updated", uri=rest[0]))
            for name in said:
                assert any(rest[0] == uri or rest[0].startswith(uri + "/") for uri in subscribed[name])
        elif action == "ask alone":
            party.now += 100
            while (to := server.pick(0)) is not None:
                server.requests.remove(to)
                check(hear(party, server, response(to["id"], secret=to["params"].get("secret", ""))))
            speak(rest[0], call("alone", secret=f"of {rest[0]}{generation[rest[0]]}"))
            if rest[1] not in asked:
                assert list(party.tell(request("roots/list", rest[1]))) == [rest[0]]
                asked[rest[1]] = rest[0]
        elif action == "ask":
            said, _ = party.hear(request("roots/list", rest[0]))
            for name in said:
                asked[rest[0]] = name
                assert list(said) == [name]
        elif (to := server.pick(rest[0])) is not None:
            secret = to["params"].get("secret", "")
            if action == "answer":
                server.requests.remove(to)
                more = {"task": {"taskId": f"task {to['id']}"}} if rest[1] and "task" in to["params"] else {}
                if more and secret[3:] in {f"{name}{generation[name]}" for name in NAMES}:
                    made[f"task {to['id']}"] = secret
                check(hear(party, server, response(to["id"], secret=secret, **more)))
            elif action == "report":
                check(hear(party, server, {**progress(to["id"]), "secret": secret}))
            elif action == "event":
                meta = {SUBSCRIPTION_ID: to["id"]}
                check(hear(party, server, notification("notifications/tools/list_changed", _meta=meta, secret=secret)))


def hear(party: Party, server: Server, message: Any) -> dict[str, list[Any]]:
    said, heard = party.hear(message)
    server.hear(heard)
    return said
