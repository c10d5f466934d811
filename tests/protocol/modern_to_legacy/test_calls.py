"""Whatever comes in whatever order, each call reaches the server once, and each request is answered once at most."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.modern_to_legacy.desk import FORM, Desk, Said, error_codes

FORMS: dict[str, Any] = {"elicitation": {}}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "call",
                "list",
                "question",
                "roots",
                "withdraw",
                "result",
                "urls",
                "retry",
                "partial",
                "replay",
                "cancel",
                "wait",
                "late",
            ]
        ),
        st.integers(min_value=0, max_value=3),
    ),
    max_size=40,
)


class Town:
    """A client and a server that do as they please, and a notary who writes down what each gets to hear."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.numbers = 0
        self.open: list[int] = []  # requests of the client without an answer
        self.calls: list[int] = []  # those that the server works on
        self.questions: list[str] = []  # those of the server without an answer
        self.states: list[tuple[str, list[str]]] = []
        self.used: list[str] = []
        self.answered: Counter[Any] = Counter()
        self.cancelled: set[int] = set()

    def note(self, said: Said) -> None:
        for message in said.to_client:
            assert message["id"] in self.open
            self.open.remove(message["id"])
            result = message.get("result", {})
            if result.get("resultType") == "input_required":
                assert result["inputRequests"]
                self.states.append((result["requestState"], list(result["inputRequests"])))
        for message in said.to_server:
            if message.get("method") in ("tools/call", "tools/list"):
                assert message["id"] not in self.answered
                assert "requestState" not in message["params"]
                self.answered[message["id"]] = 0
                self.calls.append(message["id"])
            elif message.get("method") == "notifications/cancelled":
                assert message["params"]["requestId"] in self.calls
                self.calls.remove(message["params"]["requestId"])
            else:
                assert message["id"] in self.questions
                self.questions.remove(message["id"])

    def new_id(self) -> int:
        self.numbers += 1
        self.open.append(self.numbers)
        return self.numbers

    def act(self, what: str, which: int) -> None:
        desk = self.desk
        if what in ("call", "list"):
            method = "tools/call" if what == "call" else "tools/list"
            self.note(desk.ask(self.new_id(), method, {"name": "a"}, capabilities=FORMS))
        elif what in ("question", "roots"):
            self.numbers += 1
            self.questions.append(f"q{self.numbers}")
            method, params = ("elicitation/create", FORM) if what == "question" else ("roots/list", {})
            self.note(desk.server(id=f"q{self.numbers}", method=method, params=params))
        elif what == "withdraw" and self.questions:
            question_id = self.questions.pop(which % len(self.questions))
            self.note(desk.server(method="notifications/cancelled", params={"requestId": question_id}))
        elif what in ("result", "urls") and self.calls:
            request_id = self.calls.pop(which % len(self.calls))
            urls = {"code": -32042, "message": "m", "data": {"elicitations": [{"url": "u", "message": "m"}]}}
            self.note(desk.server(id=request_id, **({"result": {}} if what == "result" else {"error": urls})))
        elif what in ("retry", "partial") and self.states:
            state, keys = self.states.pop(which % len(self.states))
            self.used.append(state)
            if what == "partial":
                keys = keys[1:]
            answers = {key: {"action": "accept"} for key in keys}
            self.note(desk.retry(self.new_id(), state, answers, capabilities=FORMS))
        elif what == "replay" and self.used:
            said = desk.retry(self.new_id(), self.used[which % len(self.used)], capabilities=FORMS)
            assert error_codes(said.to_client) == [(self.numbers, -32602)]
            self.note(said)
        elif what == "cancel" and self.open:
            request_id = self.open.pop(which % len(self.open))
            self.note(desk.cancel(request_id))
        elif what == "wait":
            self.note(desk.wait(0.02))
        elif what == "late":
            self.note(desk.wait(600))

    def settle(self) -> None:
        """Let the server answer everything, and the client come back nowhere."""
        self.note(self.desk.wait(0.02))
        while self.calls:
            self.note(self.desk.server(id=self.calls.pop(), result={}))
        self.note(self.desk.wait(600))


@given(STEPS)
def test_in_the_end_everybody_is_answered_once_and_nothing_is_left(steps: list[tuple[str, int]]) -> None:
    town = Town()
    for what, which in steps:
        town.act(what, which)
    town.settle()
    assert (town.open, town.calls, town.questions) == ([], [], [])
    assert town.desk.translator.calls == 0
    assert town.desk.translator.deadline == float("inf")
