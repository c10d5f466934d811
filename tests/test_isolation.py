"""What one principal can do with what belongs to another: nothing, and not even find out that it is there.

A session, an event, a parked call belong to whoever opened them; the id of one is no key to it (Security Best Practices
§Session Hijacking).  How it is found out who somebody is, is the subject of `tests/auth`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import trio

from tests import modern, wire
from tests.modern import ASKABLE, answer_all
from tests.proxies import open_test_proxy, python, run_proxy
from tests.puppet import MODERN_PUPPET, PUPPET, notification, request, response, saying
from tests.serving import ask
from tests.test_leases import LEGACY_SERVER
from tests.wire import Answer, Client
from trioproxy.auth import AuthRequest, Principal
from trioproxy.config import AuthConfig, EndpointConfig, TimeConfig
from trioproxy.server import Proxy

A, B = "a-key-5d41402abc4b2a76", "b-key-b9719d911017c592"
KEYS = AuthConfig(api_keys=(A, B))
IMPATIENT = TimeConfig(graceful_shutdown_timeout=0)


class Tenant(Client):
    """A client of Streamable HTTP that shows who it is."""

    def __init__(self, url: str, credentials: Mapping[str, str]) -> None:
        super().__init__(url, "2025-11-25")
        self.credentials = credentials

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request within the session."""
        return {**super().headers, **self.credentials}

    def of(self, session_id: str) -> Tenant:
        """Return the same somebody, who has got hold of a session id."""
        other = Tenant(self.url, self.credentials)
        other.session_id = session_id
        return other


def key(value: str) -> dict[str, str]:
    return {"x-api-key": value}


def hello() -> dict[str, Any]:
    info = {"name": "wire", "version": "1"}
    return request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo=info)


async def initialize(url: str, credentials: Mapping[str, str]) -> Tenant:
    """Open a session, handshake done."""
    tenant = Tenant(url, credentials)
    answer = await wire.request(url, "POST", {**wire.JSON_HEADERS, **credentials}, json.dumps(hello()).encode())
    assert answer.status == 200, answer
    tenant.session_id = answer.headers["mcp-session-id"]
    assert (await tenant.post(notification("notifications/initialized"))).status == 202
    return tenant


def open_puppet(puppet: tuple[str, ...] = PUPPET, **concerns: Any) -> Any:
    return open_test_proxy(puppet, **{"auth": KEYS, "times": IMPATIENT, "child": {"spares": 0}, **concerns})


@asynccontextmanager
async def open_sse(url: str, credentials: Mapping[str, str]) -> AsyncIterator[tuple[wire.Stream, str]]:
    """A session over HTTP with SSE: its stream, and where to POST."""
    async with wire.open_stream(urljoin(url, "/sse"), "GET", credentials) as stream:
        event = await stream.next_event()
        assert event is not None
        assert event.data is not None
        yield stream, urljoin(url, event.data)


def shown(answer: Answer, *ids: str) -> tuple[int, dict[str, str], bytes]:
    """Return all that an answer says, without the time, and without the ids that were asked for."""
    body = answer.body
    for known in ids:
        body = body.replace(known.encode(), b"ID")
    return answer.status, {name: value for name, value in answer.headers.items() if name != "date"}, body


# What is somebody else's


ATTEMPTS: dict[str, tuple[str, Any, dict[str, str]]] = {
    "a call": ("POST", request("repeat", 1), {}),
    "a call with the id of one that is running": ("POST", request("repeat", "held"), {}),
    "a cancellation": ("POST", notification("notifications/cancelled", requestId="held"), {}),
    "an answer": ("POST", response("question", roots=[]), {}),
    "a batch": ("POST", [request("repeat", 1)], {}),
    "a handshake": ("POST", hello(), {}),
    "a call of the other era": ("POST", request("tools/list", 1), {"mcp-protocol-version": "2026-07-28"}),
    "an unknown revision": ("POST", request("repeat", 1), {"mcp-protocol-version": "1999-01-01"}),
    "listening": ("GET", None, {"accept": "text/event-stream"}),
    "resuming": ("GET", None, {"accept": "text/event-stream", "last-event-id": "EVENT"}),
    "the end": ("DELETE", None, {}),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=list(ATTEMPTS))
async def test_somebody_elses_session_is_answered_like_one_that_does_not_exist(attempt: tuple[str, Any, Any]) -> None:
    method, message, more = attempt
    async with open_puppet() as proxy:
        ours = await initialize(proxy.url, key(A))
        async with ours.open_post(request("wait", "held")) as held:
            event_id = (await held.next_event()).id
            body = b"" if message is None else json.dumps(message).encode()
            answers = []
            for session_id in (ours.session_id, "x" * len(ours.session_id)):
                theirs = Tenant(proxy.url, key(B)).of(session_id)
                headers = {**theirs.headers, **more}
                if "last-event-id" in more:
                    headers["last-event-id"] = event_id
                answers.append(shown(await wire.request(proxy.url, method, headers, body)))
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
            await ours.post(saying(response("held")))
            assert await held.rest() == [response("held")]
        heard = (await ours.post(request("heard"))).json["result"]["lines"]
        assert [json.loads(line)["method"] for line in heard] == [
            "initialize",
            "notifications/initialized",
            "wait",
            "notifications/say",
            "heard",
        ]


async def resume(tenant: Tenant, event_id: str) -> Answer:
    headers = {**tenant.headers, "accept": "text/event-stream", "last-event-id": event_id}
    return await wire.request(tenant.url, "GET", headers)


async def test_somebody_elses_event_id_is_answered_like_one_that_does_not_exist() -> None:
    async with open_puppet() as proxy:
        ours, theirs = await initialize(proxy.url, key(A)), await initialize(proxy.url, key(B))
        async with ours.open_post(request("wait", 1)) as call:
            event_id = (await call.next_event()).id
        invented = "0123abcd" + event_id[8:]
        answers = [shown(await resume(theirs, known), known) for known in (event_id, invented)]
        assert answers[0] == answers[1]
        assert answers[0][0] == 400
        await ours.post(saying(response(1)))
        async with ours.listen(last_event_id=event_id) as resumed:
            assert await resumed.rest() == [response(1)]


@pytest.mark.parametrize("parameter", ["session_id", "sessionId"])
async def test_somebody_elses_session_over_sse_is_answered_like_one_that_does_not_exist(parameter: str) -> None:
    async with open_puppet() as proxy, open_sse(proxy.url, key(A)) as (stream, endpoint):
        session_id = endpoint.partition("session_id=")[2]
        messages = endpoint.partition("?")[0]
        ours, theirs = ({"content-type": "application/json", **key(whose)} for whose in (A, B))
        answers = []
        for known in (session_id, "x" * len(session_id)):
            url = f"{messages}?{parameter}={known}"
            answers.append(shown(await wire.request(url, "POST", theirs, json.dumps(hello()).encode())))
            answers.append(shown(await wire.request(url, "POST", theirs, b"{")))
            # Nor is it a session of the other transport, for whomever.
            clients = [Tenant(proxy.url, key(whose)).of(known) for whose in (A, B)]
            answers += [shown(await client.post(request("repeat", 1))) for client in clients]
        assert answers[:4] == answers[4:]
        assert [status for status, _, _ in answers[:4]] == [404, 404, 404, 404]
        assert (await wire.request(endpoint, "POST", ours, json.dumps(hello()).encode())).status == 202
        assert (await stream.next_message())["result"]["serverInfo"]["name"] == "puppet"


async def test_somebody_elses_parked_call_is_answered_like_one_that_does_not_exist() -> None:
    async with open_puppet(python(LEGACY_SERVER)) as proxy:
        first = modern.tool_call("ask", 1, capabilities=ASKABLE)
        asked = (await modern.post(proxy.url, first, **key(A))).json["result"]
        right = answer_all(first, asked, 2, {"action": "accept", "content": {"name": "Ada"}})
        # Somebody who says the same of itself, and has a parked call, too.
        theirs = (await modern.post(proxy.url, first, **key(B))).json["result"]
        assert theirs["requestState"] != asked["requestState"]
        guess = {**right, "params": {**right["params"], "requestState": "x" * len(asked["requestState"])}}
        stolen, invented = [shown(await modern.post(proxy.url, message, **key(B))) for message in (right, guess)]
        assert stolen == invented
        assert stolen[0] == 400
        answer = await modern.post(proxy.url, right, **key(A))
        assert answer.json["result"]["answered"] == {"action": "accept", "content": {"name": "Ada"}}


async def test_a_subscription_hears_nothing_of_what_somebody_elses_server_says() -> None:
    listen, change = modern.listen("mine", toolsListChanged=True), modern.tool_call("change", 1)
    async with (
        open_puppet(python(LEGACY_SERVER)) as proxy,
        modern.open_post(proxy.url, listen, **key(A)) as of_a,
        modern.open_post(proxy.url, listen, **key(B)) as of_b,
    ):
        for stream in (of_a, of_b):
            assert (await stream.next_message())["method"] == "notifications/subscriptions/acknowledged"
        await modern.post(proxy.url, change, **key(B))
        assert (await of_b.next_message())["method"] == "notifications/tools/list_changed"
        await proxy.stop()
        (last,) = await of_a.rest()
        assert last["id"] == "mine"


async def test_principals_share_no_child_though_their_clients_say_the_same_of_themselves() -> None:
    async with open_puppet(python(LEGACY_SERVER)) as proxy:
        call = modern.tool_call("who", 1)
        pids = [(await modern.post(proxy.url, call, **key(whose))).json["result"]["pid"] for whose in (A, B, A, B)]
        assert pids[:2] == pids[2:]
        assert pids[0] != pids[1]
    async with open_puppet(MODERN_PUPPET) as proxy:
        heard = [await modern.post(proxy.url, request_, **key(whose)) for request_, whose in [(HEARD, A), (HEARD, B)] * 2]
        results = [answer.json["result"] for answer in heard]
        assert [result["pid"] for result in results[:2]] == [result["pid"] for result in results[2:]]
        assert results[0]["pid"] != results[1]["pid"]
        assert [len(result["lines"]) for result in results[2:]] == [len(result["lines"]) + 1 for result in results[:2]]


HEARD = modern.request("heard", 1)


async def test_a_cancellation_and_a_token_are_of_the_principal_that_sends_them() -> None:
    """The ids of two clients of a modern server may be equal, and so may those of two principals."""
    begin = modern.request("begin", "same", token="same")
    async with open_puppet(MODERN_PUPPET) as proxy, modern.open_post(proxy.url, begin, **key(A)) as ours:
        assert (await ours.next_message())["params"]["progressToken"] == "same"
        async with modern.open_post(proxy.url, begin, **key(B)) as theirs:
            assert (await theirs.next_message())["params"]["progressToken"] == "same"
        cancelled = notification("notifications/cancelled", requestId="same")
        await wire.request(proxy.url, "POST", {**wire.JSON_HEADERS, **key(B)}, json.dumps(cancelled).encode())
        await proxy.stop()
        (answer,) = await ours.rest()
        assert (answer["id"], answer["error"]["code"]) == ("same", -32000)


# The child of a principal


WITNESS = r"""
import json, os, sys
era = sys.argv[1]
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params", {})
    if number is None:
        continue
    if method == "initialize" and era == "legacy":
        say(id=number, result={"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                               "serverInfo": {"name": "witness", "version": "1"}})
    elif method == "server/discover" and era == "modern":
        say(id=number, result={"resultType": "complete", "supportedVersions": ["2026-07-28"],
                               "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"})
    elif method != "tools/call":
        say(id=number, error={"code": -32601, "message": "no"})
    elif params["name"] == "die":
        os._exit(3)
    else:
        say(id=number, result={"resultType": "complete", "content": [], "pid": os.getpid(),
                               "environment": dict(os.environ), "argv": sys.argv})
"""
"""A server of the era that it is told, whose one tool tells what it was started with."""


async def by_name(asked: AuthRequest) -> Principal | None:
    """Let in whoever has a name; most have secrets, and `plain` has none."""
    name = asked.header("X-Name")
    if name is None:
        return None
    name, _, right = name.partition(" ")
    if name == "plain":
        return Principal("plain")
    return Principal(
        name, permissions=tuple(filter(None, ["read", right])), environment={"SECRET_" + name.upper(): "of " + name}
    )


def named(name: str) -> dict[str, str]:
    return {"x-name": name}


async def who_in_session(proxy: Proxy, name: str) -> Any:
    tenant = await initialize(proxy.url, named(name))
    (message,) = (await tenant.call("who")).messages
    return message["result"]


async def who_over_sse(proxy: Proxy, name: str) -> Any:
    async with open_sse(proxy.url, named(name)) as (stream, endpoint):
        headers = {"content-type": "application/json", **named(name)}
        for message in (hello(), notification("notifications/initialized"), wire.tool_call("who")):
            assert (await wire.request(endpoint, "POST", headers, json.dumps(message).encode())).status == 202
        await stream.next_message()
        return (await stream.next_message())["result"]


async def who_of_the_modern_era(proxy: Proxy, name: str) -> Any:
    return (await modern.post(proxy.url, modern.tool_call("who"), **named(name))).json["result"]


async def who_that_can_be_asked(proxy: Proxy, name: str) -> Any:
    return (await modern.post(proxy.url, modern.tool_call("who", capabilities=ASKABLE), **named(name))).json["result"]


async def who_without_session(proxy: Proxy, name: str) -> Any:
    body = json.dumps(wire.tool_call("who")).encode()
    (message,) = (await wire.request(proxy.url, "POST", {**wire.JSON_HEADERS, **named(name)}, body)).messages
    return message["result"]


WAYS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "a session": ("legacy", who_in_session, {}),
    "a session over SSE": ("legacy", who_over_sse, {}),
    "a session with a modern server": ("modern", who_in_session, {}),
    "the shared child of a modern server": ("modern", who_of_the_modern_era, {}),
    "a leased child": ("legacy", who_of_the_modern_era, {}),
    "a leased child of its own": ("legacy", who_that_can_be_asked, {}),
    "a child for one request": ("legacy", who_without_session, {"stateless": True}),
}


def open_witness(era: str, **concerns: Any) -> Any:
    auth = AuthConfig(authenticate=by_name)
    return open_test_proxy((*python(WITNESS), era), auth=auth, times=IMPATIENT, **concerns)


def said_of_principal(told: Any) -> dict[str, str]:
    """Return what of a child's environment has to do with principals."""
    return {name: value for name, value in told["environment"].items() if name.startswith(("SECRET_", "MCP_PROXY_"))}


def expected_of(name: str) -> dict[str, str]:
    if name == "plain":
        return {}
    return {"SECRET_" + name.upper(): "of " + name, "MCP_PROXY_USER_ID": name, "MCP_PROXY_PERMISSIONS": "read"}


@pytest.mark.parametrize(("era", "who", "concerns"), WAYS.values(), ids=list(WAYS))
async def test_the_secrets_of_a_principal_reach_its_own_child_and_no_other(era: str, who: Any, concerns: Any) -> None:
    names = ["ada", "plain", "bob", "ada", "plain", "bob"]
    told: list[tuple[str, Any]] = []
    async with open_witness(era, **concerns) as proxy:

        async def find_out(name: str) -> None:
            told.append((name, await who(proxy, name)))

        for name in names:
            await find_out(name)
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(find_out, name)
    for name, result in told:
        assert said_of_principal(result) == expected_of(name)
    pids = {name: {result["pid"] for whose, result in told if whose == name} for name in names}
    assert sum(len(of_one) for of_one in pids.values()) == len(set.union(*pids.values()))


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_who_gets_another_child_after_a_crash_gets_one_of_its_own(era: str) -> None:
    async with open_witness(era) as proxy:
        ada, plain = [await initialize(proxy.url, named(name)) for name in ("ada", "plain")]
        for tenant, name in ((ada, "ada"), (plain, "plain")):
            (death,) = (await tenant.call("die", 1)).messages
            assert death["error"]["code"] == -32603
            (message,) = (await tenant.call("who", 2)).messages
            assert said_of_principal(message["result"]) == expected_of(name)
        for name in ("ada", "plain"):
            assert (await modern.post(proxy.url, modern.tool_call("die"), **named(name))).json["error"]["code"] == -32603
            assert said_of_principal(await who_of_the_modern_era(proxy, name)) == expected_of(name)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_who_has_other_rights_than_before_gets_a_child_that_knows_of_them(era: str) -> None:
    """A modern request stands for itself; a session keeps the rights that it was opened with."""
    async with open_witness(era) as proxy:
        for rights, expected in (("ada", "read"), ("ada write", "read,write"), ("ada", "read")):
            told = await who_of_the_modern_era(proxy, rights)
            assert told["environment"]["MCP_PROXY_PERMISSIONS"] == expected


# Who is nobody


MODERN_CALL = modern.request("server/discover")
ROUTES: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "initialize": ("POST", "/mcp", wire.JSON_HEADERS, json.dumps(hello()).encode()),
    "a call": ("POST", "/mcp", {**wire.JSON_HEADERS, "mcp-session-id": "x"}, b"{}"),
    "a body that is none": ("POST", "/mcp", {}, b"\xff"),
    "a modern call": ("POST", "/mcp", modern.headers(MODERN_CALL), json.dumps(MODERN_CALL).encode()),
    "listening": ("GET", "/mcp", {"accept": "text/event-stream"}, b""),
    "the end": ("DELETE", "/mcp", {"mcp-session-id": "x"}, b""),
    "an escaped path": ("GET", "/%6dcp", {}, b""),
    "a whole URL": ("GET", "http://localhost/mcp", {}, b""),
    "another method": ("PUT", "/mcp", {}, b""),
    "SSE": ("GET", "/sse", {}, b""),
    "a message": ("POST", "/messages?session_id=x", {"content-type": "application/json"}, b"{}"),
    "a path that is not served": ("GET", "/admin", {}, b""),
    "a path beside an open one": ("GET", "/ping/../mcp", {}, b""),
    "a path with an open one before it": ("GET", "/healthz/mcp", {}, b""),
    "no path": ("GET", "*", {}, b""),
    "two slashes": ("GET", "//ping", {}, b""),
}
NOBODIES: dict[str, list[tuple[str, str]]] = {
    "nothing": [],
    "a wrong key": [("x-api-key", "c-key")],
    "an empty key": [("x-api-key", "")],
    "half a key": [("x-api-key", A[:-1])],
    "a key and more": [("x-api-key", A + "x")],
    "a key in other letters": [("x-api-key", A.upper())],
    "both keys": [("x-api-key", f"{A}, {B}")],
    "two keys": [("x-api-key", "c-key"), ("x-api-key", A)],
    "a key as a user": [("x-user-id", A)],
    "a key as another scheme": [("authorization", f"Basic {A}")],
    "a key in a cookie": [("cookie", f"x-api-key={A}")],
    "a forwarded key": [("x-forwarded-api-key", A), ("forwarded", f"for={A}")],
}


@pytest.mark.parametrize(("method", "path", "headers", "body"), ROUTES.values(), ids=list(ROUTES))
async def test_nobody_gets_anywhere(method: str, path: str, headers: dict[str, str], body: bytes) -> None:
    async with open_puppet(endpoints=EndpointConfig(metrics_auth=True)) as proxy, wire.connect(proxy.url) as connection:
        head = f"{method} {path} HTTP/1.1\r\nhost: {connection.host}\r\n"
        for name, credentials in NOBODIES.items():
            lines = [*headers.items(), *credentials, ("content-length", str(len(body)))]
            whole = (head + "".join(f"{n}: {v}\r\n" for n, v in lines) + "\r\n").encode() + body
            async with wire.connect(proxy.url) as nobody:
                answer = await ask(nobody, whole, method)
            assert answer.status in (400, 401), name
            assert answer.headers["www-authenticate"].startswith("Bearer "), name
            assert answer.json["error"]["code"] == -32000, name
            assert "mcp-session-id" not in answer.headers
        assert proxy.sessions == 0
        # The same with a key is something else, whatever it is.
        allowed = [*headers.items(), ("x-api-key", A), ("content-length", str(len(body)))]
        async with wire.connect(proxy.url) as somebody:
            whole = (head + "".join(f"{n}: {v}\r\n" for n, v in allowed) + "\r\n").encode() + body
            await somebody.stream.send_all(whole)
            assert b" 401 " not in (await somebody.stream.receive_some())


async def test_who_sends_nothing_but_a_head_without_a_key_is_told_at_once() -> None:
    """The body of somebody who may not come in is not waited for, nor read."""
    async with open_puppet() as proxy, wire.connect(proxy.url) as nobody:
        head = f"POST /mcp HTTP/1.1\r\nhost: {nobody.host}\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n"
        assert (await ask(nobody, head.encode(), "POST")).status == 401


@pytest.mark.parametrize("metrics_auth", [False, True])
async def test_what_says_nothing_of_anybody_is_open(metrics_auth: bool) -> None:
    preflight = {"origin": "http://localhost", "access-control-request-method": "POST"}
    async with open_puppet(endpoints=EndpointConfig(metrics_auth=metrics_auth)) as proxy:
        await initialize(proxy.url, key(A))
        statuses = {
            path: (await wire.request(urljoin(proxy.url, path))).status for path in ("/ping", "/healthz", "/metrics")
        }
        assert statuses == {"/ping": 200, "/healthz": 200, "/metrics": 401 if metrics_auth else 200}
        assert (await wire.request(urljoin(proxy.url, "/metrics"), "GET", key(B))).status == 200
        assert (await wire.request(proxy.url, "OPTIONS", preflight)).status == 204


async def test_where_to_get_a_token_is_told_to_those_who_have_none() -> None:
    oauth = AuthConfig(oauth_issuer="https://issuer.example", oauth_audiences=("https://mcp.example/mcp",))
    async with open_puppet(auth=oauth) as proxy:
        for path in ("", "/mcp", "/sse"):
            answer = await wire.request(urljoin(proxy.url, "/.well-known/oauth-protected-resource" + path))
            assert (answer.status, answer.json["authorization_servers"]) == (200, ["https://issuer.example"])
        assert (await wire.request(urljoin(proxy.url, "/.well-known/oauth-protected-resource/admin"))).status == 404


@pytest.mark.parametrize("failure", [RuntimeError("no database"), KeyError("x"), ExceptionGroup("several", [OSError()])])
async def test_a_way_in_that_fails_lets_nobody_in(failure: Exception) -> None:
    async def fail(asked: AuthRequest) -> Principal | None:
        raise failure

    async with open_puppet(auth=AuthConfig(authenticate=fail)) as proxy:
        answer = await wire.request(proxy.url, "POST", {**wire.JSON_HEADERS, **key(A)}, json.dumps(hello()).encode())
        assert (answer.status, proxy.sessions) == (500, 0)
        assert "database" not in answer.body.decode()
        assert (await wire.request(urljoin(proxy.url, "/ping"))).status == 200


# Where keys must not be


def started_with(pid: int) -> bytes:
    """Return the environment of a process, and its command."""
    return Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_key_is_found_nowhere_afterwards(tmp_path: Path) -> None:
    """Neither in what we log, with everything that can be logged, nor in what we measure, answer, or start a child with."""
    wrong, in_file = "wrong-key-90f1f60a", "file-key-0a1b2c3d"
    secrets = [A, B, wrong, in_file]
    file = tmp_path / "keys"
    file.write_text(in_file + "\n")
    places: list[tuple[str, dict[str, str]]] = []
    for secret in secrets:
        places += [
            ("", {"x-api-key": secret}),
            ("", {"authorization": f"Bearer {secret}"}),
            (f"?apiKey={secret}", {}),
            (f"?apiKey={secret}&apiKey={secret}", {}),
            ("", {"authorization": f"Bearer {secret} {secret}"}),
            ("", {"authorization": secret}),
            ("", {"x-api-key": f"{secret}, {secret}"}),
        ]
    arguments = ("--debug", "--api-key-in-query", "--api-key-file", str(file), "--", *python(WITNESS), "legacy")
    bodies: list[bytes] = []
    with run_proxy(*arguments, environment={"MCP_PROXY_API_KEY": f"{A},{B}"}) as proxy:
        url = proxy.urls[0]
        for query, credentials in places:
            for path in ("/mcp", "/sse/../nowhere", "/messages", "/healthz", "/metrics"):
                headers = {**wire.JSON_HEADERS, **credentials}
                body = json.dumps(hello()).encode() if path == "/mcp" else b""
                method = "POST" if path in ("/mcp", "/messages") else "GET"
                answer = await wire.request(urljoin(url, path) + query, method, headers, body)
                bodies.append(answer.body + repr(answer.headers).encode())
            async with wire.connect(url) as connection:
                lines = "".join(f"{name} : {value}\r\n" for name, value in credentials.items())
                target = f"/mcp{query} x" if query else "/mcp"
                refused = await ask(connection, f"GET {target} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n".encode())
                assert refused.status == 400
                bodies.append(refused.body)
        ours = await initialize(url, key(in_file))
        told = await ours.call("who")
        started = [started_with(pid) for pid in proxy.children()]
        assert started
        metrics = await wire.request(urljoin(url, "/metrics"))
        proxy.process.terminate()
        assert proxy.wait() == 0
        log_text = "\n".join(proxy.said).encode()
    assert log_text.count(b"refused") > len(places), "the log says enough for a key to be in it"
    found = [*bodies, told.body, metrics.body, log_text, *started]
    assert [text for text in found if any(secret.encode() in text for secret in secrets)] == []
