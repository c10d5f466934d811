"""A stdio server on strings: it does what the messages that reach it say, so that a test decides what happens when.

    notifications/say {"lines": […]}     writes each line as it stands
    initialize                           is answered, unless the revision asked for is "refuse me", "keep me waiting" or
                                         "die of me"; the capabilities are the `experimental` ones of the client
    repeat                               is answered with the line itself
    heard                                is answered with all the lines that have come, and the process id
    recite {"line": …}                   is answered with that line
    blob {"size": n}                     is answered with a text of n bytes
    die {"status": n} or {"signal": n}   ends the process
    server/discover                      is refused, as by a server that has never heard of it
    wait                                 and everything else is not answered

Nothing here waits for a time, and neither need the tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .proxies import python

PUPPET = python(
    r"""
import json, os, sys
sys.set_int_max_str_digits(0)
heard = []
def say(line):
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
def answer(message, result):
    say(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode())
def initialize(message):
    revision = message["params"]["protocolVersion"]
    if revision == "refuse me":
        say(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": "no"}}).encode())
    elif revision == "die of me":
        sys.exit("I could not bear it")
    elif revision != "keep me waiting":
        info = {"name": "puppet", "version": "1"}
        # A client decides what the server can do, too.
        capabilities = message["params"].get("capabilities", {}).get("experimental", {})
        answer(message, {"protocolVersion": revision, "capabilities": capabilities, "serverInfo": info})
def die(params):
    print("these are my last words", file=sys.stderr)
    if "signal" in params:
        os.kill(os.getpid(), params["signal"])
    os._exit(params["status"])
for line in sys.stdin.buffer:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if message.get("id") == "trioproxy-ping":
        # Whoever asks for our health; nothing that a test has said.
        answer(message, {})
        continue
    heard.append(line.decode("latin-1").rstrip("\n"))
    if method == "initialize":
        initialize(message)
    elif method == "notifications/say":
        for text in params["lines"]:
            say(text.encode("latin-1"))
    elif method == "repeat":
        answer(message, {"line": heard[-1]})
    elif method == "heard":
        answer(message, {"lines": heard, "pid": os.getpid()})
    elif method == "recite":
        say(params["line"].encode("latin-1"))
    elif method == "blob":
        answer(message, {"text": "x" * params["size"]})
    elif method == "die":
        die(params)
    elif method == "server/discover":
        error = {"code": -32601, "message": "Method not found"}
        say(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode())
"""
)


MODERN_PUPPET = python(
    r"""
import json, os, sys
heard, numbers, tools = [], {}, []
def write(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
def say(message):
    write(json.dumps(message).encode() + b"\n")
def answer(message, **result):
    say({"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", **result}})
def progress(message, padding=""):
    params = {"progressToken": message["params"]["_meta"]["progressToken"], "progress": 1}
    if padding:
        params["message"] = padding
    say({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
def fill_in(text):
    for name, number in numbers.items():
        text = text.replace("@" + name + "@", str(number))
    return text.encode("latin-1")
for line in sys.stdin.buffer:
    heard.append(line.decode("latin-1").rstrip("\n"))
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if "id" in message:
        numbers["me"] = message["id"]
        if "alias" in params:
            numbers[params["alias"]] = message["id"]
    if method == "server/discover":
        answer(message, supportedVersions=["2026-07-28"], capabilities={}, ttlMs=0, cacheScope="public", pid=os.getpid())
    elif method == "subscriptions/listen":
        meta = {"io.modelcontextprotocol/subscriptionId": message["id"]}
        say({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
             "params": {"_meta": meta, "notifications": params["notifications"]}})
    elif method == "tools/list":
        answer(message, tools=tools, ttlMs=0, cacheScope="public")
    elif method == "tools/call":
        answer(message, **params["arguments"].get("result", {}))
    elif method == "offer":
        tools[:] = params["tools"]
        answer(message)
    elif method == "begin":
        progress(message)
    elif method == "flood":
        for _ in range(params["count"]):
            progress(message, "x" * params["size"])
    elif method == "say":
        for text in params["lines"]:
            write(fill_in(text) + b"\n")
    elif method == "stammer":
        write(fill_in(params["text"]))
        os._exit(3)
    elif method == "repeat":
        answer(message, line=heard[-1])
    elif method == "heard":
        answer(message, lines=heard, pid=os.getpid())
    elif method == "blob":
        answer(message, text="x" * params["size"])
"""
)
"""The same for 2026-07-28.  Its requests say what happens, since it gets no notifications from a client:

    server/discover, subscriptions/listen, tools/list        as the revision has it
    tools/call {"arguments": {"result": …}}                  is answered with that result
    offer {"tools": […]}                                     is answered; those are the tools from now on
    begin                                                    is not answered, but makes some progress
    flood {"count": n, "size": n}                            is not answered, but makes so much progress
    say {"lines": […]}                                       writes each line, and is not answered otherwise
    stammer {"text": …}                                      writes that without a newline, and dies
    repeat, heard, blob, wait                                as above

In lines and texts `@me@` is the id of the request, as it has reached the server, and `@name@` that of the one that came with
`{"alias": "name"}`; progress tokens are the same.
"""


def request(method: str, request_id: int | str = 1, token: Any = None, **params: Any) -> dict[str, Any]:
    """Return a request."""
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def notification(method: str, **params: Any) -> dict[str, Any]:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def response(request_id: int | str, **result: Any) -> dict[str, Any]:
    """Return a response."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def saying(*messages: Any) -> dict[str, Any]:
    """Return the notification that makes the puppet say `messages`: values, or lines of bytes as they are to be."""
    lines: Sequence[bytes] = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
    return notification("notifications/say", lines=[line.decode("latin-1") for line in lines])


def progress(token: Any, number: int = 1) -> dict[str, Any]:
    """Return a progress notification."""
    return notification("notifications/progress", progressToken=token, progress=number)


def log(text: str) -> dict[str, Any]:
    """Return a log notification."""
    return notification("notifications/message", level="info", data=text)
