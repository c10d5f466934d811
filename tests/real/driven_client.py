"""MCP clients in a process of their own, driven from a test that reads as if they were here.

An SDK that can't be imported here runs a script of ours, which does as the lines on its stdin say
and writes what happens to its stdout, until its stdin ends.  Each line is a JSON object:

    {"do": "connect", "id", "client", "url", "transport": "stream" | "sse", "mode": "legacy" | "auto"}
    {"do": "request", "id", "client", "method", "params"}
    {"do": "cancel", "call": the id of a request}
    {"do": "notify", "id", "client", "method", "params"}
    {"do": "answer", "question", "result"}
    {"do": "close", "id", "client"}

    {"id", "result"} or {"id", "error": {"code", "message", "data"}}
    {"progress": the id of a request, "params"}
    {"client", "notification": its method, "params"}
    {"client", "question": an id, "method", "params"}
"""

import itertools
import json
import queue
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .proxy_process import RunningProxy

Json = Any

# A bound, not a wait: nothing that a test does takes a tenth of it.
_TIMEOUT = 30.0


class ErrorAnswer(Exception):
    """The answer to a request was an error."""

    def __init__(self, error: Json) -> None:
        super().__init__(error)
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data")


class Call:
    """A request in flight, and what has been heard of it."""

    def __init__(self, call_id: int, drive: Callable[..., None]) -> None:
        self.id = call_id
        self.progress: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self.answer: Future[Json] = Future()
        self._drive = drive

    def result(self) -> Json:
        """Wait for the result.

        Raises:
          ErrorAnswer: it was an error.
        """
        return self.answer.result(_TIMEOUT)

    def text(self) -> str:
        """Wait for the result of a tool that has one text to say."""
        return text_of(self.result())

    def next_progress(self) -> Json:
        return self.progress.get(timeout=_TIMEOUT)

    def cancel(self) -> None:
        self._drive(do="cancel", call=self.id)


class Question:
    """A request of the server, which waits until the test answers it."""

    def __init__(self, line: Json, drive: Callable[..., None]) -> None:
        self.params: Json = line.get("params") or {}
        self._id = line["question"]
        self._drive = drive

    def answer(self, **result: Json) -> None:
        self._drive(do="answer", question=self._id, result=result)


class DrivenClient:
    """One client in a driven process; in what it hears, each method has a queue of its own."""

    def __init__(self, name: str, process: "DrivenProcess") -> None:
        self._name = name
        self._process = process
        self.notifications: defaultdict[str, queue.SimpleQueue[Json]] = defaultdict(queue.SimpleQueue)
        self.questions: defaultdict[str, queue.SimpleQueue[Question]] = defaultdict(queue.SimpleQueue)
        self.server: Json = None

    def start(self, method: str, **params: Json) -> Call:
        return self._process.start(do="request", client=self._name, method=method, params=params)

    def request(self, method: str, **params: Json) -> Json:
        return self.start(method, **params).result()

    def start_tool(self, tool: str, /, **arguments: Json) -> Call:
        return self.start("tools/call", name=tool, arguments=arguments)

    def tool(self, tool: str, /, **arguments: Json) -> str:
        """Call a tool that has one text to say, and wait for it."""
        return self.start_tool(tool, **arguments).text()

    def notify(self, method: str, **params: Json) -> None:
        self._process.start(do="notify", client=self._name, method=method, params=params).result()

    def next_notification(self, method: str) -> Json:
        return self.notifications[method].get(timeout=_TIMEOUT)

    def next_question(self, method: str) -> Question:
        return self.questions[method].get(timeout=_TIMEOUT)


class DrivenProcess:
    """A process that runs a driving script; made by `open_driven_process`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._ids = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._clients: dict[str, DrivenClient] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @contextmanager
    def connect(self, proxy: RunningProxy, transport: str, mode: str = "legacy") -> Iterator[DrivenClient]:
        """Connect a client for as long as the block runs."""
        name = f"client {next(self._ids)}"
        client = self._clients[name] = DrivenClient(name, self)
        url = proxy.sse if transport == "sse" else proxy.mcp
        client.server = self.start(do="connect", client=name, url=url, transport=transport, mode=mode).result()
        yield client
        self.start(do="close", client=name).result()

    def start(self, **line: Json) -> Call:
        call = Call(next(self._ids), self.drive)
        self._calls[call.id] = call
        self.drive(id=call.id, **line)
        return call

    def drive(self, **line: Json) -> None:
        self._stdin.write(json.dumps(line).encode() + b"\n")
        self._stdin.flush()

    def end_input(self) -> None:
        """Tell the process to end."""
        self._stdin.close()

    def close(self) -> None:
        """Close what is left, once the process has ended; before that the reader would not let go of its pipe."""
        self._reader.join()
        self._stdin.close()
        self._stdout.close()

    def _read(self) -> None:
        for text in self._stdout:
            match json.loads(text):
                case {"id": call, "result": result}:
                    self._calls[call].answer.set_result(result)
                case {"id": call, "error": error}:
                    self._calls[call].answer.set_exception(ErrorAnswer(error))
                case {"progress": call, "params": params}:
                    self._calls[call].progress.put(params)
                case {"client": client, "notification": method, **line}:
                    self._clients[client].notifications[method].put(line.get("params"))
                case {"client": client, "question": _, "method": method} as line:
                    self._clients[client].questions[method].put(Question(line, self.drive))
                case other:
                    raise AssertionError(f"unexpected line: {other}")
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(AssertionError("the process with the client has ended"))


@contextmanager
def open_driven_process(command: Sequence[str], directory: Path) -> Iterator[DrivenProcess]:
    """Run `command`, a driving script, in `directory` for as long as the block runs."""
    process = subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    driven = DrivenProcess(process)
    try:
        yield driven
        driven.end_input()
        assert process.wait(_TIMEOUT) == 0
    finally:
        process.kill()
        process.wait()
        driven.close()


def text_of(result: Json) -> str:
    [content] = result["content"]
    assert not result.get("isError"), content
    assert content["type"] == "text"
    text = content["text"]
    assert isinstance(text, str)
    return text
