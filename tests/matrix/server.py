"""A stdio server that does as its calls say, of the era that it is told.

    python -m tests.matrix.server legacy | modern | dual

It keeps to the letter of its era, so that whatever comes untranslated is found out: the legacy one refuses a request before
the handshake, or with an envelope; the modern one refuses the handshake, and a request without an envelope; the dual one
becomes either, by the first message that it gets, and stays so.

    echo                 is answered with its arguments, and what is in `_meta` besides an envelope
    fail                 is answered with the error that it is given
    complain             is answered with a result that says so
    measure              has structured content
    count {to, until}    reports progress, then waits until something has happened
    log {messages}       logs, if it is loud enough
    ask {rounds}         puts the questions of each round, one round after another, and answers with all the answers
    visit {url}          wants a page to be visited first, and says so with an error where there is one for it
    change {kinds}       says that lists have changed; touch {uri}: that a resource has, and how often it has said so
    wonder               asks for roots once it has answered; learned: is answered with what came of it
    hold {name}          waits until it is released or cancelled
    mark {mark}          says that something has happened; await {mark}: waits until it has

Nothing here waits for a time.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict

from .offers import (
    CACHEABLE,
    CACHED,
    CAPABILITIES,
    INSTRUCTIONS,
    LEGACY,
    MEASURED,
    MODERN,
    NAMES,
    PREFIX,
    PROMPTS,
    RESOURCE_PAGES,
    SERVER_INFO,
    TEMPLATES,
    THE_QUESTION,
    TOOLS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Each session starts a process of this; importing `typing` would be a good part of the cost.
    from typing import Any

    from .offers import Era

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
ODD_STATE = 'opaque: "\\ \u2028 😀 é'
"""What a client that looks into `requestState`, or writes it anew, is likely to break."""


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


class Call:
    """A request."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.id = message["id"]
        self.method: str = message["method"]
        self.params: dict[str, Any] = message.get("params", {})
        self.meta: dict[str, Any] = self.params.get("_meta", {})
        self.arguments: dict[str, Any] = self.params.get("arguments", {})
        # What a legacy client has been asked and has answered.
        self.rounds: list[list[Any]] = []
        self.answers: list[list[Any]] = []
        self.open: dict[int, int] = {}


class Server:
    """One process."""

    def __init__(self, era: Era | None) -> None:
        self.era = era
        self.is_initialized = False
        self.level: str | None = None
        self.subscribed: set[str] = set()
        self.listens: dict[Any, dict[str, Any]] = {}
        self.marks: set[str] = set()
        self.waiting: defaultdict[str, list[Call]] = defaultdict(list)
        self.held: dict[Any, Call] = {}
        self.questions: dict[int, Call] = {}
        self.asked = 0
        self.wondering: list[Call] = []
        self.roots: Any = None

    # Out

    def say(self, **message: Any) -> None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")

    def finish(self, call: Call, result: dict[str, Any]) -> None:
        """Answer a call, with what the era wants to have in a result."""
        if self.era == "modern":
            meta = result.pop("_meta", {})
            result = {"resultType": "complete", **result, "_meta": {**meta, PREFIX + "serverInfo": SERVER_INFO}}
            if call.method in CACHEABLE and result["resultType"] == "complete":
                result |= CACHED["modern"]
        self.say(id=call.id, result=result)

    # In

    def take(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "notifications/cancelled"}:
                self.cancel(message["params"]["requestId"])
            case {"method": "notifications/initialized"}:
                self.is_initialized = True
            case {"method": _, "id": _}:
                call = Call(message)
                try:
                    result = self.serve(call)
                except Refused as refused:
                    self.say(id=call.id, error=refused.error)
                else:
                    if result is not None:
                        self.finish(call, result)
            case {"id": "wondering"}:
                self.roots = _answer(message)
                for call in self.wondering:
                    self.finish(call, {"content": [_text(json.dumps(self.roots))]})
            case {"id": question} if question in self.questions:
                self.take_answer(question, message)

    def serve(self, call: Call) -> dict[str, Any] | None:
        """Return a result, None where that comes later.

        Raises:
          Refused: as its name says.
        """
        envelope = {name for name in call.meta if name.startswith(PREFIX)}
        if self.era is None:
            self.era = "modern" if envelope else "legacy"
        if self.era == "legacy":
            if call.method == "initialize":
                asked = call.params["protocolVersion"]
                revision = asked if asked < MODERN else LEGACY
                introduction = {"capabilities": CAPABILITIES["legacy"], "serverInfo": SERVER_INFO}
                return {"protocolVersion": revision, **introduction, "instructions": INSTRUCTIONS}
            if not self.is_initialized:
                raise Refused(-32602, "Received request before initialization was complete")
            if envelope:
                raise Refused(-32600, f"An envelope within a session: {sorted(envelope)}")
        else:
            if call.method == "initialize":
                data = {"supported": [MODERN], "requested": call.params["protocolVersion"]}
                raise Refused(-32022, "Unsupported protocol version", data)
            if missing := {PREFIX + "protocolVersion", PREFIX + "clientCapabilities"} - envelope:
                raise Refused(-32602, f"The envelope lacks {sorted(missing)}")
        serve = getattr(self, f"{self.era}_" + _identifier(call.method), None) or getattr(
            self, _identifier(call.method), None
        )
        if serve is None:
            raise Refused(-32601, f"Method not found: {call.method}")
        result: dict[str, Any] | None = serve(call)
        return result

    def cancel(self, request_id: Any) -> None:
        self.listens.pop(request_id, None)
        if (call := self.held.pop(request_id, None)) is not None:
            name = call.arguments["name"]
            self.waiting[f"{name} released"].remove(call)
            self.happen(f"{name} cancelled")

    # Lists, resources, prompts

    def modern_server_discover(self, call: Call) -> dict[str, Any]:
        return {"supportedVersions": [MODERN], "capabilities": CAPABILITIES["modern"], "instructions": INSTRUCTIONS}

    def legacy_ping(self, call: Call) -> dict[str, Any]:
        return {}

    def tools_list(self, call: Call) -> dict[str, Any]:
        assert self.era
        return {"tools": TOOLS[self.era]}

    def prompts_list(self, call: Call) -> dict[str, Any]:
        return {"prompts": PROMPTS}

    def resources_templates_list(self, call: Call) -> dict[str, Any]:
        return {"resourceTemplates": TEMPLATES}

    def resources_list(self, call: Call) -> dict[str, Any]:
        cursors = list(RESOURCE_PAGES)
        cursor = call.params.get("cursor")
        if cursor not in cursors:
            raise Refused(-32602, "Invalid cursor", {"cursor": cursor})
        following = cursors[cursors.index(cursor) + 1 :]
        return {"resources": RESOURCE_PAGES[cursor]} | ({"nextCursor": following[0]} if following else {})

    def resources_read(self, call: Call) -> dict[str, Any] | None:
        uri = call.params["uri"]
        if uri == "matrix://ask":
            return self.ask(call, [[THE_QUESTION]])
        if uri.startswith("matrix://square/"):
            return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": str(int(uri[16:]) ** 2)}]}
        # "Resource not found: -32602 … earlier protocol versions used" -32002 (2026-07-28, Resources §Error Handling).
        raise Refused(-32002 if self.era == "legacy" else -32602, "Resource not found", {"uri": uri})

    def prompts_get(self, call: Call) -> dict[str, Any] | None:
        if call.params["name"] == "ask":
            return self.ask(call, [[THE_QUESTION]])
        if call.params["name"] != "greet":
            raise Refused(-32602, f"Unknown prompt: {call.params['name']}")
        return {"messages": [{"role": "user", "content": _text(f"Greet {call.arguments['name']}.")}]}

    def completion_complete(self, call: Call) -> dict[str, Any]:
        values = [name for name in NAMES if name.startswith(call.params["argument"]["value"])]
        return {"completion": {"values": values, "total": len(values), "hasMore": False}}

    # What is announced

    def legacy_logging_setLevel(self, call: Call) -> dict[str, Any]:  # noqa: N802  as the method is called
        self.level = call.params["level"]
        return {}

    def legacy_resources_subscribe(self, call: Call) -> dict[str, Any]:
        self.subscribed.add(call.params["uri"])
        return {}

    def legacy_resources_unsubscribe(self, call: Call) -> dict[str, Any]:
        self.subscribed.discard(call.params["uri"])
        return {}

    def modern_subscriptions_listen(self, call: Call) -> None:
        wanted = self.listens[call.id] = call.params["notifications"]
        self.say(method="notifications/subscriptions/acknowledged", params={"notifications": wanted, "_meta": _of(call.id)})

    def announce(self, method: str, params: dict[str, Any], kind: str) -> int:
        """Say something to all who want to hear it, and return how many that are."""
        uri = params.get("uri")
        if self.era == "legacy":
            if uri is not None and uri not in self.subscribed:
                return 0
            self.say(method=method, params=params)
            return 1

        def is_wanted(by: dict[str, Any]) -> bool:
            return uri in by.get(kind, ()) if uri else kind in by

        listening = [number for number, wanted in self.listens.items() if is_wanted(wanted)]
        for number in listening:
            self.say(method=method, params={**params, "_meta": _of(number)})
        return len(listening)

    # Tools

    def tools_call(self, call: Call) -> dict[str, Any] | None:
        tool = getattr(self, "tool_" + call.params["name"], None)
        if tool is None:
            raise Refused(-32602, f"Unknown tool: {call.params['name']}")
        result: dict[str, Any] | None = tool(call, **call.arguments)
        return result

    def tool_echo(self, call: Call, **arguments: Any) -> dict[str, Any]:
        others = {
            name: value for name, value in call.meta.items() if not name.startswith(PREFIX) and name != "progressToken"
        }
        return {"content": [_text("echo")], "structuredContent": arguments, "_meta": others}

    def tool_fail(self, call: Call, code: int, message: str, data: Any) -> None:
        raise Refused(code, message, data)

    def tool_complain(self, call: Call, text: str) -> dict[str, Any]:
        return {"content": [_text(text)], "isError": True}

    def tool_measure(self, call: Call) -> dict[str, Any]:
        assert self.era
        return {"content": [_text("1 and 2.5")], "structuredContent": MEASURED[self.era]}

    def tool_count(self, call: Call, to: int, until: str) -> None:
        token = call.meta.get("progressToken")
        for number in range(1, to + 1):
            if token is not None:
                params = {"progressToken": token, "progress": number, "total": to, "message": f"step {number}"}
                self.say(method="notifications/progress", params=params)
        self.tool_await(call, until)

    def tool_log(self, call: Call, messages: list[tuple[str, Any]]) -> dict[str, Any]:
        wanted = self.level if self.era == "legacy" else call.meta.get(PREFIX + "logLevel")
        for level, data in messages:
            if wanted is not None and LEVELS.index(level) >= LEVELS.index(wanted):
                self.say(method="notifications/message", params={"level": level, "logger": "matrix", "data": data})
        return {"content": [_text("logged")]}

    def tool_change(self, call: Call, kinds: list[str]) -> dict[str, Any]:
        for kind in kinds:
            self.announce(f"notifications/{kind}/list_changed", {}, f"{kind}ListChanged")
        return {"content": [_text("changed")]}

    def tool_touch(self, call: Call, uri: str) -> dict[str, Any]:
        told = self.announce("notifications/resources/updated", {"uri": uri}, "resourceSubscriptions")
        return {"content": [_text(f"told {told}")]}

    def tool_hold(self, call: Call, name: str) -> None:
        self.held[call.id] = call
        self.waiting[f"{name} released"].append(call)
        self.happen(f"{name} held")

    def tool_mark(self, call: Call, mark: str) -> dict[str, Any]:
        self.happen(mark)
        return {"content": [_text(mark)]}

    def tool_await(self, call: Call, mark: str) -> None:
        self.waiting[mark].append(call)
        if mark in self.marks:
            self.happen(mark)

    def happen(self, mark: str) -> None:
        self.marks.add(mark)
        for call in self.waiting.pop(mark, ()):
            self.held.pop(call.id, None)
            self.finish(call, {"content": [_text(mark)]})

    # Questions

    def tool_ask(self, call: Call, rounds: list[list[Any]]) -> dict[str, Any] | None:
        return self.ask(call, rounds)

    def tool_visit(self, call: Call, url: str) -> dict[str, Any] | None:
        if self.era == "modern":
            return self.ask(call, [[{"method": "elicitation/create", "params": _page(url)}]])
        # 2025-11-25, Elicitation §URL Elicitation Required Error.
        if url in self.marks:
            return {"content": [_text(f"visited {url}")]}
        self.marks.add(url)
        raise Refused(-32042, "URL elicitation required", {"elicitations": [{**_page(url), "elicitationId": "visit-1"}]})

    def tool_wonder(self, call: Call) -> None:
        self.finish(call, {"content": [_text("I wonder")]})
        if self.era == "legacy":
            self.say(id="wondering", method="roots/list")

    def tool_learned(self, call: Call) -> None:
        self.wondering.append(call)
        if self.roots is not None:
            self.finish(call, {"content": [_text(json.dumps(self.roots))]})

    def ask(self, call: Call, rounds: list[list[Any]]) -> dict[str, Any] | None:
        if self.era == "legacy":
            call.rounds = [*rounds]
            return self.ask_next_round(call)
        state = json.loads(call.params["requestState"]) if "requestState" in call.params else {"answers": []}
        answers = state["answers"]
        if "requestState" in call.params:
            assert state["odd"] == ODD_STATE
            responses = call.params["inputResponses"]
            answers = [*answers, [responses[f"q{number}"] for number in range(len(rounds[len(answers)]))]]
        if len(answers) == len(rounds):
            return self.answered(call, answers)
        return {
            "resultType": "input_required",
            "inputRequests": {f"q{number}": question for number, question in enumerate(rounds[len(answers)])},
            "requestState": json.dumps({"odd": ODD_STATE, "answers": answers}),
        }

    def ask_next_round(self, call: Call) -> dict[str, Any] | None:
        if not call.rounds:
            return self.answered(call, call.answers)
        questions = call.rounds.pop(0)
        call.answers.append([None] * len(questions))
        for number, question in enumerate(questions):
            self.asked += 1
            self.questions[self.asked] = call
            call.open[self.asked] = number
            if question.get("params", {}).get("mode") == "url":
                question["params"]["elicitationId"] = f"elicitation {self.asked}"
            self.say(id=self.asked, **question)
        return None

    def take_answer(self, question: int, message: dict[str, Any]) -> None:
        call = self.questions.pop(question)
        number = call.open.pop(question)
        call.answers[-1][number] = _answer(message)
        if not call.open:
            result = self.ask_next_round(call)
            if result is not None:
                self.finish(call, result)

    def answered(self, call: Call, answers: list[list[Any]]) -> dict[str, Any]:
        text = json.dumps(answers, sort_keys=True)
        if call.method == "prompts/get":
            return {"messages": [{"role": "user", "content": _text(text)}]}
        if call.method == "resources/read":
            return {"contents": [{"uri": call.params["uri"], "text": text}]}
        return {"content": [_text("answered")], "structuredContent": {"answers": answers}}


def _identifier(method: str) -> str:
    return method.replace("/", "_")


def _answer(message: dict[str, Any]) -> Any:
    return message["result"] if "result" in message else {"error": message["error"]["code"]}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _page(url: str) -> dict[str, Any]:
    return {"mode": "url", "url": url, "message": "Please visit"}


def _of(listen_id: Any) -> dict[str, Any]:
    return {PREFIX + "subscriptionId": listen_id}


if __name__ == "__main__":
    era = sys.argv[1]
    assert era in ("legacy", "modern", "dual")
    server = Server(None if era == "dual" else "legacy" if era == "legacy" else "modern")
    for line in sys.stdin.buffer:
        server.take(json.loads(line))
        # Only now: what follows from one message is read at once.
        sys.stdout.flush()
