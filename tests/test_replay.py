"""A recorded session is served again: what a client gets is what it got then, apart from ids and tokens.

Each story is told twice by the same client, which numbers its requests differently the second time: to a real server, whose
messages are tapped, and to the process that serves the recording.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client, StdioServerParameters
from mcp.client import ClientRequestContext

from trioproxy import replay
from trioproxy.child import open_child
from trioproxy.config import ChildConfig
from trioproxy.protocol.messages import Notification, Request, Response, parse_line
from trioproxy.protocol.meta_keys import SUBSCRIPTION_ID
from trioproxy.protocol.playback import Playback
from trioproxy.protocol.recording import TO_CLIENT, TO_SERVER, Direction, Entry, write_entry
from trioproxy.protocol.scenes import Said
from trioproxy.protocol.splice import splice
from trioproxy.replay import Wanted, load, read_words
from trioproxy.tap import open_tap, tapped
from trioproxy.transport import Transport

from . import modern, wire
from .proxies import DEMO, open_test_proxy
from .puppet import PUPPET, log, notification, progress, request, response, saying

REPLAY = (sys.executable, "-c", "import sys; from trioproxy.replay import main; sys.exit(main(sys.argv[1:]))")


class Teller:
    """A client that tells a story, and keeps what it is told, its own ids and tokens taken out.

    Args:
      first: the id of its first request.
    """

    def __init__(self, server: Transport, first: int) -> None:
        self.heard: list[bytes] = []
        self._server = server
        self._first = first
        self._next = first
        self._answers: dict[str, dict[str, Any]] = {}

    def send(self, message: dict[str, Any] | bytes) -> None:
        self._server.send_nowait(message if isinstance(message, bytes) else json.dumps(message).encode())

    def begin(self, message: dict[str, Any] | bytes, *, token: bool = False) -> int:
        """Send a request under the next id, and return that."""
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        number = self._next
        self._next += 1
        tokens: Any = {("params", "_meta", "progressToken"): b'"token %d"' % number} if token else {}
        self.send(splice(raw, {("id",): b"%d" % number, **tokens}))
        return number

    async def ask(self, message: dict[str, Any] | bytes, *, token: bool = False, **answers: dict[str, Any]) -> bytes:
        """Make a request, answer what is asked meanwhile, and return its answer."""
        self._answers = answers
        return await self.wait_answer(self.begin(message, token=token))

    async def wait_answer(self, number: int) -> bytes:
        while not (found := [line for line in self.heard if self._is_answer(line, number)]):
            await self.listen()
        return found[0]

    async def wait_heard(self, count: int) -> None:
        """Listen until so many messages have come in all."""
        while len(self.heard) < count:
            await self.listen()

    async def listen(self) -> None:
        for line in await self._server.receive():
            assert isinstance(line, bytes)
            self.heard.append(self._impersonal(line))
            message = parse_line(line)
            if isinstance(message, Request) and (name := message.method.replace("/", "_")) in self._answers:
                self.send({"jsonrpc": "2.0", "id": message.id, **self._answers[name]})

    def _is_answer(self, line: bytes, number: int) -> bool:
        message = parse_line(line)
        return isinstance(message, Response) and message.id == number - self._first

    def _impersonal(self, line: bytes) -> bytes:
        message = parse_line(line)
        if isinstance(message, Response):
            return splice(line, {("id",): b"%d" % (int(message.id or 0) - self._first)})
        if isinstance(message, Notification) and message.method == "notifications/progress":
            number = int(str(message.progress_token).removeprefix("token ")) - self._first
            return splice(line, {("params", "progressToken"): b"%d" % number})
        subscription = message.params.get("_meta", {}).get(SUBSCRIPTION_ID)
        if subscription is not None:
            return splice(line, {("params", "_meta", SUBSCRIPTION_ID): b"%d" % (subscription - self._first)})
        return line


Story = Callable[[Teller], Awaitable[None]]


async def tell(story: Story, command: Sequence[str], first: int) -> list[bytes]:
    async with open_child(ChildConfig(tuple(command)), on_stderr=print) as child:
        teller = Teller(child, first)
        await story(teller)
        return teller.heard


async def record(story: Story, command: Sequence[str], path: Path, session: str | None = "ab12cd") -> list[bytes]:
    """Tell a story to a server, record it, and return what the client heard."""
    async with open_child(ChildConfig(tuple(command)), on_stderr=print) as child, open_tap(path) as tap:
        teller = Teller(tapped(child, lambda shown: tap.note(shown.direction, shown.message, session=session)), 0)
        await story(teller)
        return teller.heard


def initialize(**params: Any) -> dict[str, Any]:
    client = {"name": "teller", "version": "1"}
    return request(
        "initialize", protocolVersion="2025-11-25", capabilities=dict(modern.ASKABLE), clientInfo=client, **params
    )


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return request("tools/call", name=tool, arguments=arguments)


NAME = {"result": {"action": "accept", "content": {"name": "Ada"}}}
SAID = {"result": {"role": "assistant", "content": {"type": "text", "text": "Hi"}, "model": "m"}}
ROOTS = {"result": {"roots": [{"uri": "file:///tmp"}]}}
UNABLE = {"error": {"code": -1, "message": "not today"}}


async def legacy_story(teller: Teller) -> None:
    await teller.ask(initialize())
    teller.send(notification("notifications/initialized"))
    await teller.ask(request("ping"))
    await teller.ask(request("tools/list"))
    # Progress, one call beside the other, and one that nobody wants to hear of.
    counting = teller.begin(call("count", to=3, delay_ms=20), token=True)
    await teller.ask(call("echo", text="meanwhile"))
    await teller.wait_answer(counting)
    await teller.ask(call("count", to=2, delay_ms=0))
    # Questions.
    await teller.ask(call("ask_name"), elicitation_create=NAME)
    await teller.ask(call("ask_model", prompt="?"), sampling_createMessage=SAID)
    await teller.ask(call("ask_model", prompt="?!"), sampling_createMessage=UNABLE)
    await teller.ask(call("introduce"), token=True, elicitation_create=NAME, sampling_createMessage=SAID)
    await teller.ask(call("list_roots"), roots_list=ROOTS)
    # Changes.
    await teller.ask(request("resources/subscribe", uri="demo://counter"))
    for _ in range(2):
        await teller.ask(call("touch"))
        await teller.ask(request("resources/read", uri="demo://counter"))
    await teller.ask(call("grow"))
    await teller.ask(request("tools/list"))
    await teller.ask(request("logging/setLevel", level="debug"))
    await teller.ask(call("log", text="ünï", level="warning"))
    # Errors.
    await teller.ask(call("no such tool"))
    await teller.ask(request("resources/read", uri="demo://nothing"))
    await teller.ask(request("tools/list", cursor="?"))
    # What others would break.
    await teller.ask(
        b'{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{"name":"echo","arguments":{"text":"\\ud83d\\u2028"}}}'
    )
    await teller.ask(call("add", a=123456789012345678901234567890, b=1e299))
    # Cancelled.
    heard = len(teller.heard)
    given_up = teller.begin(call("count", to=1000, delay_ms=10), token=True)
    await teller.wait_heard(heard + 1)
    teller.send(notification("notifications/cancelled", requestId=given_up))
    asked = teller.begin(call("ask_name"))
    heard = len(teller.heard)
    while not any(b"elicitation/create" in line for line in teller.heard[heard:]):
        await teller.listen()
    teller.send(notification("notifications/cancelled", requestId=asked))
    await teller.ask(call("echo", text="the end"))


async def modern_story(teller: Teller) -> None:
    await teller.ask(modern.request("server/discover"))
    await teller.ask(modern.request("tools/list"))
    await teller.ask(modern.tool_call("count", arguments={"to": 3, "delay_ms": 0}), token=True)
    listening = teller.begin(modern.listen(toolsListChanged=True, resourceSubscriptions=["demo://counter"]))
    await teller.wait_heard(len(teller.heard) + 1)
    await teller.ask(modern.tool_call("touch"))
    await teller.ask(modern.tool_call("grow"))
    await teller.ask(modern.request("tools/list"))
    teller.send(notification("notifications/cancelled", requestId=listening))
    await teller.ask(modern.tool_call("touch"))
    await teller.ask(modern.tool_call("log", arguments={"text": "hello", "level": "info"}, log_level="info"))
    first = modern.tool_call("introduce", capabilities=modern.ASKABLE)
    asked = json.loads(await teller.ask(first))["result"]
    again = json.loads(await teller.ask(modern.answer_all(first, asked, 0, NAME["result"])))["result"]
    await teller.ask(modern.answer_all(first, again, 0, SAID["result"]))
    await teller.ask(modern.tool_call("ask_name"))


def without_answers_to_races(heard: list[bytes]) -> list[bytes]:
    """What a server still says of a call that is being cancelled depends on the moment."""
    return [line for line in heard if b"of 1000" not in line]


def by_request(heard: list[bytes]) -> list[bytes]:
    """In an order in which calls that run side by side don't overtake each other: each call's own is kept."""
    counting = [line for line in heard if b"of 3" in line or b"Counted to 3" in line]
    return [*counting, *(line for line in heard if line not in counting)]


async def test_a_legacy_session_is_served_again_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    told = await record(legacy_story, DEMO, path)
    again = await tell(legacy_story, (*REPLAY, str(path)), 1000)
    assert by_request(without_answers_to_races(again)) == by_request(without_answers_to_races(told))
    everything = b"".join(told)
    for said in (
        b"roots/list",
        b"sampling/createMessage",
        b"resources/updated",
        b"tools/list_changed",
        b"requestId",
        b'"error"',
    ):
        assert said in everything


async def test_modern_requests_are_served_again_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    told = await record(modern_story, DEMO, path, session=None)
    assert await tell(modern_story, (*REPLAY, str(path)), 1000) == told
    assert any(SUBSCRIPTION_ID.encode() in line for line in told)


HARD = [
    b'{"jsonrpc":"2.0","id":1,"result":{"n":123456789012345678901234567890.10,"s":"\\ud83d\\/","z":1E400, "a" : -0.0}}',
    b'{"result":{"a":1,"a":2,"text":"\xe2\x80\xa8"},"jsonrpc":"2.0","id":1}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":-1e0,"message":"","data":' + b"[" * 200 + b"]" * 200 + b"}}",
    b'{"jsonrpc":"2.0","id":1,"result":{"digits":' + b"7" * 6000 + b"}}",
    b'{"jsonrpc":"2.0","id":1,"result":{"text":"' + b"x" * 100_000 + b'"}}',
]


async def test_what_no_encoder_would_write_comes_as_it_came(tmp_path: Path) -> None:
    async def story(teller: Teller) -> None:
        await teller.ask(initialize())
        for number, line in enumerate(HARD):
            made = teller.begin(request("recite", number=number, line=""))
            # The puppet writes the line as it stands, so that the id in it has to be right.
            said = splice(line, {("id",): b"%d" % made})
            teller.send(saying(said))
            await teller.wait_answer(made)

    told = await record(story, PUPPET, tmp_path / "tap.jsonl")

    async def story_again(teller: Teller) -> None:
        await teller.ask(initialize())
        for number in range(len(HARD)):
            await teller.ask(request("recite", number=number, line=""))

    recorded = tmp_path / "tap.jsonl"
    # The answers were made by notifications, which won't be repeated.
    lines = [line for line in recorded.read_bytes().splitlines() if b"notifications/say" not in line]
    recorded.write_bytes(b"\n".join(lines))
    assert await tell(story_again, (*REPLAY, str(recorded)), 70) == told


# Endings and mistakes


def entry(direction: Direction, message: Any, second: float = 0.0, session: str | None = "ab12cd", **more: Any) -> bytes:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return write_entry(Entry(f"2026-07-28T12:00:{second:09.6f}Z", direction, raw, session, **more))


def write(path: Path, *lines: bytes) -> str:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)


def run(*words: str, said: Sequence[Any] = (), rest: bytes = b"") -> tuple[int, list[Any], str]:
    """Run it as a user does; return its exit code, its messages, and its stderr."""
    told = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in said)
    result = subprocess.run([*REPLAY, *words], input=told + rest, capture_output=True, timeout=20, check=False)
    return result.returncode, [json.loads(line) for line in result.stdout.splitlines()], result.stderr.decode()


def echo(number: int, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return request("echo", number, text=text), response(number, text=text)


def both(number: int, text: str, session: str | None = "ab12cd") -> list[bytes]:
    asked, answered = echo(number, text)
    return [entry(TO_SERVER, asked, session=session), entry(TO_CLIENT, answered, session=session)]


def test_it_ends_at_the_end_of_its_input(tmp_path: Path) -> None:
    path = write(tmp_path / "tap.jsonl", *both(1, "a"))
    assert run(path) == (0, [], "")
    half = b'{"jsonrpc": "2.0", "id": 9, "method": "ec'
    assert run(path, said=[request("echo", "x", text="a")], rest=half) == (0, [response("x", text="a")], "")


def test_a_recording_that_was_cut_off_is_served_as_far_as_it_goes(tmp_path: Path) -> None:
    asked, _ = echo(2, "b")
    cut = tmp_path / "tap.jsonl"
    cut.write_bytes(b"\n".join([*both(1, "a"), entry(TO_SERVER, asked), entry(TO_CLIENT, response(2))[:-20]]))
    status, messages, said = run(str(cut), said=[request("echo", 7, text="a"), request("echo", 8, text="b")])
    assert (status, messages[0]) == (0, response(7, text="a"))
    assert (messages[1]["id"], messages[1]["error"]["message"]) == (8, "the recording ends before echo is answered")
    assert f"{cut}, not a line of a recording: line 4: not JSON" in said
    assert "session ab12cd, the recording ends before a request is answered: echo" in said


def test_garbage_in_a_recording_is_said_and_the_rest_is_served(tmp_path: Path) -> None:
    garbage = [b"hello", b"\xff\x00", b"[1]", b'{"direction":"sideways","message":{}}', b"", b'{"time":"","lost":3}']
    lines = [
        entry(TO_CLIENT, b"Listening on stdio"),
        entry(TO_CLIENT, b'{"jsonrpc":"2.0"', length=70_000_000),
        *both(1, "a"),
    ]
    status, messages, said = run(write(tmp_path / "tap.jsonl", *garbage, *lines), said=[request("echo", 7, text="a")])
    assert (status, messages) == (0, [response(7, text="a")])
    assert said.count("not a line of a recording: line ") == 4
    assert "3 messages could not be recorded" in said
    assert "session ab12cd: not JSON" in said
    assert "session ab12cd: a line of 70000000 bytes, which was over the limit" in said


def a_recording() -> bytes:
    lines: list[bytes] = []
    for number, session in enumerate(["ab12cd", "other", None]):
        lines += [*both(1, "a", session), entry(TO_SERVER, request("b", 2, token=7), number, session)]
        lines += [entry(TO_CLIENT, progress(7), number, session), entry(TO_CLIENT, b"garbage \xff", number, session)]
        lines += [entry(TO_CLIENT, request("roots/list", "q"), session=session)]
        lines += [entry(TO_SERVER, response("q"), session=session)]
    return b"\n".join(lines)


RECORDING = a_recording()


@given(
    st.integers(0, len(RECORDING)),
    st.integers(0, len(RECORDING)),
    st.binary(max_size=8),
    st.none() | st.sampled_from(["ab12cd", "other", "null"]),
)
def test_a_recording_may_be_damaged_anywhere(start: int, end: int, put_in: bytes, session: str | None) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(RECORDING[:start] + put_in + RECORDING[end:])
        file.flush()
        try:
            recorded = load(Wanted(file.name, session))
        except replay.NothingRecorded:
            return
    playback = Playback(recorded.scenes)
    playback.start(0)
    # Perhaps it was never recorded now, or its answer was not; something is said to it in any case.
    assert playback.from_client(parse_line(json.dumps(request("echo", 5, text="a")).encode()), 0)
    for said in (request("b", 6, token=8), response("q"), request("b", 7)):
        for line in playback.from_client(parse_line(json.dumps(said).encode()), 0):
            assert json.loads(line)["jsonrpc"] == "2.0"


def test_the_first_session_is_served_unless_another_is_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "tap.jsonl", *both(1, "a", "first"), *both(1, "b", "other"), *both(1, "c", None))
    asked = [request("echo", 7, text=text) for text in "abc"]

    def served(*words: str) -> list[bool]:
        status, messages, said = run(*words, path, said=asked)
        assert status == 0
        if not words:
            others = "first (2 messages), other (2 messages), null (2 messages)"
            assert said == f"trioproxy: replay: session first is served; --session chooses among {others}\n"
        return ["result" in message for message in messages]

    assert served() == [True, False, False]
    assert served("--session", "other") == [False, True, False]
    assert served("--session=null") == [False, False, True]
    status, messages, said = run("--session", "third", path)
    assert (status, messages) == (1, [])
    assert said.startswith(f"trioproxy: error: {path}: there is no session third; there is first (2 messages), other")


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ([], 2, "one file is expected; 'nothing' came"),
        (["a", "b"], 2, "one file is expected; 'a b' came"),
        (["--sesion", "a", "b"], 2, "--sesion: no such option"),
        (["--session"], 2, "--session: a value is expected; nothing came"),
        (["--speed", "fast", "a"], 2, "--speed: a number is expected, 0 for no pauses; 'fast' came"),
        (["--speed", "-1", "a"], 2, "'-1' came"),
        (["--speed", "nan", "a"], 2, "'nan' came"),
        (["/no/such/file"], 1, "No such file or directory: '/no/such/file'"),
        (["/dev/null"], 1, "/dev/null: no message is recorded there"),
        (["/tmp"], 1, "Is a directory: '/tmp'"),
    ],
)
def test_a_mistake_is_named(words: list[str], status: int, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main(words) == status
    said = capsys.readouterr()
    assert (said.out, reason in said.err, said.err.startswith("usage")) == ("", True, status == 2)


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main(["--help"]) == 0
    assert "--session ID" in capsys.readouterr().out


def test_words_are_read() -> None:
    assert read_words(["f"]) == Wanted("f")
    assert read_words(["--session", "x", "--speed=0", "--", "--f"]) == Wanted("--f", "x")
    assert read_words(["--speed", "2.5", "f"]) == Wanted("f", speed=2.5)


def test_a_client_that_says_no_message_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "tap.jsonl", *both(1, "a"))
    status, messages, _ = run(path, said=[b"what?", b"[]", request("echo", 7, text="a")])
    assert (status, [message.get("id") for message in messages]) == (0, [None, None, 7])
    assert [message["error"]["code"] for message in messages[:2]] == [-32700, -32600]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly(number: signal.Signals, tmp_path: Path) -> None:
    command = [*REPLAY, write(tmp_path / "tap.jsonl", *both(1, "a"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(request("ping")).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == response(1)
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read() == b""


def test_a_client_that_has_gone_is_no_reason_for_a_traceback(tmp_path: Path) -> None:
    path = write(tmp_path / "tap.jsonl", *both(1, "x" * 500_000))
    command = [*REPLAY, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(request("echo", 7, text="x" * 500_000)).encode() + b"\n")
        process.stdin.flush()
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(10) == 0
        assert process.stderr.read() == b""


def test_times_that_make_no_sense_are_no_pauses(tmp_path: Path) -> None:
    asked, answered = echo(1, "a")
    lines = [
        entry(TO_SERVER, asked, 1),
        entry(TO_CLIENT, log("1"), 3),
        entry(TO_CLIENT, log("2"), 2),
        write_entry(Entry("noon", TO_CLIENT, json.dumps(log("3")).encode(), "ab12cd")),
        entry(TO_CLIENT, answered, 2.25),
    ]
    _, scene = load(Wanted(write(tmp_path / "tap.jsonl", *lines))).scenes
    assert [line.pause for line in scene.lines if isinstance(line, Said)] == [2, 0, 0, 0.25]


async def test_pauses_are_kept_if_wanted(tmp_path: Path) -> None:
    asked, answered = echo(1, "a")
    path = write(tmp_path / "tap.jsonl", entry(TO_SERVER, asked, 1), entry(TO_CLIENT, answered, 4))
    async with open_child(ChildConfig((*REPLAY, "--speed", "10", path)), on_stderr=print) as child:
        teller = Teller(child, 0)
        await teller.ask(request("ping"))
        began = trio.current_time()
        await teller.ask(asked)
        assert 0.3 <= trio.current_time() - began < 3


# Users


async def test_a_legacy_recording_is_served_over_http(tmp_path: Path) -> None:
    """A proxy is the client of the recording, and asks it things of its own."""
    path = tmp_path / "tap.jsonl"
    await record(legacy_story, DEMO, path)
    async with open_test_proxy((*REPLAY, str(path))) as proxy:
        client = await wire.initialize(proxy.url, capabilities={"elicitation": {}})
        assert text(await client.call("echo", "mine", text="meanwhile")) == "meanwhile"
        counted = (await client.call("count", "yours", token="t", to=3, delay_ms=20)).messages
        assert [message["params"]["progressToken"] for message in counted[:3]] == ["t"] * 3
        assert counted[3]["result"]["content"][0]["text"] == "Counted to 3."
        async with client.open_post(wire.tool_call("ask_name", 5)) as stream:
            question = await stream.next_message()
            assert question["method"] == "elicitation/create"
            await client.post(response(question["id"], action="accept", content={"name": "Grace"}))
            assert (await stream.next_message())["result"]["content"][0]["text"] == "Hello, Ada!"
        refused = (await client.call("echo", 6, text="something else")).json["error"]["message"]
        assert 'never recorded: tools/call {"arguments":{"text":"something else"},"name":"echo"}' in refused
        assert 'the nearest that was: tools/call {"arguments":{"text":"meanwhile"},"name":"echo"}' in refused


async def test_a_modern_recording_is_served_over_http(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    await record(modern_story, DEMO, path, session=None)
    async with open_test_proxy((*REPLAY, str(path))) as proxy:
        discovered = await modern.post(proxy.url, modern.request("server/discover"))
        assert discovered.json["result"]["supportedVersions"] == ["2026-07-28"]

        async def count_tools() -> int:
            return len((await modern.post(proxy.url, modern.request("tools/list"))).json["result"]["tools"])

        counted = await modern.post(proxy.url, modern.tool_call("count", 7, {"to": 3, "delay_ms": 0}, token="t"))
        assert [message["params"]["progressToken"] for message in counted.messages[:3]] == ["t"] * 3
        # The proxy has asked for the tools, too; the answer is that of before `grow` until `grow` is called.
        before = await count_tools()
        async with modern.open_post(
            proxy.url, modern.listen("mine", toolsListChanged=True, resourceSubscriptions=["demo://counter"])
        ) as stream:
            assert (await stream.next_message())["method"] == "notifications/subscriptions/acknowledged"
            await modern.post(proxy.url, modern.tool_call("touch"))
            updated = await stream.next_message()
            assert updated["params"] == {"_meta": {SUBSCRIPTION_ID: "mine"}, "uri": "demo://counter"}
            await modern.post(proxy.url, modern.tool_call("grow"))
            assert (await stream.next_message())["method"] == "notifications/tools/list_changed"
        assert await count_tools() == before + 1
        first = modern.tool_call("introduce", capabilities=modern.ASKABLE)
        asked = (await modern.post(proxy.url, first)).json["result"]
        again = (await modern.post(proxy.url, modern.answer_all(first, asked, 2, NAME["result"]))).json["result"]
        last = await modern.post(proxy.url, modern.answer_all(first, again, 3, UNABLE))
        assert text(last) == "The model says to Ada: Hi"


def text(answer: wire.Answer) -> str:
    """Return what a tool has said."""
    said = answer.messages[-1] if answer.headers["content-type"] == "text/event-stream" else answer.json
    found: str = said["result"]["content"][0]["text"]
    return found


RECORDER = """
import os, sys, trio
from trioproxy.child import open_child
from trioproxy.config import ChildConfig
from trioproxy.protocol.lines import LineFramer
from trioproxy.tap import open_tap, tapped

async def main(path, *command):
    async with open_child(ChildConfig(command), on_stderr=print) as child, open_tap(path) as tap:
        server = tapped(child, lambda shown: tap.note(shown.direction, shown.message, session="ab12cd"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, server)
            framer = LineFramer(None)
            while chunk := await trio.to_thread.run_sync(os.read, 0, 65536):
                for line in framer.feed(chunk):
                    server.send_nowait(line)
            nursery.cancel_scope.cancel()

async def answer(server):
    while True:
        for line in await server.receive():
            os.write(1, line + b"\\n")

trio.run(main, *sys.argv[1:])
"""
"""A stdio server that is another one, and records what passes."""


class Host:
    """What an application does with the official client."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    async def elicit(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.said.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.said.append((progress, total, message))

    async def use(self, command: Sequence[str], mode: str) -> None:
        parameters = StdioServerParameters(command=command[0], args=list(command[1:]))
        async with asyncio.timeout(60), Client(parameters, mode=mode, elicitation_callback=self.elicit) as client:
            self.said.append((client.protocol_version, client.server_info))
            self.said.append(await client.list_tools())
            arguments = {"to": 3, "delay_ms": 0}
            self.said.append(await client.call_tool("count", arguments, progress_callback=self.progress))
            self.said.append(await client.call_tool("add", {"a": 2**70, "b": 0.5}))
            self.said.append(await client.call_tool("ask_name", {}))
            self.said.append(await client.read_resource("demo://greeting"))


@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")
@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
def test_the_official_client_notices_no_difference(mode: str, tmp_path: Path) -> None:
    path = str(tmp_path / "tap.jsonl")
    there, again = Host(), Host()
    asyncio.run(there.use([sys.executable, "-c", RECORDER, path, *DEMO], mode))
    asyncio.run(again.use([*REPLAY, path], mode))
    assert again.said == there.said
    assert "What is your name?" in there.said
    assert (1, 3, "1 of 3") in there.said
