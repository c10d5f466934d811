"""The clients of the TypeScript SDK, both generations, meet servers on it and on the Python SDK."""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .contract import HARD_TEXT, HandshakeContract, SdkServerContract
from .driven_client import DrivenClient, DrivenProcess, open_driven_process
from .installed import node_modules
from .proxy_process import RunningProxy, open_proxy

pytestmark = pytest.mark.node

HERE = Path(__file__).parent

# By the generation of the SDK.
Processes = dict[int, DrivenProcess]


class Way(NamedTuple):
    """How the client gets to the server; `generation` is that of the SDK."""

    generation: int
    transport: str
    mode: str = "legacy"

    def __str__(self) -> str:
        return f"sdk-{self.generation}-{self.transport}-{self.mode}"


WAYS = [Way(1, "stream"), Way(1, "sse"), Way(2, "stream"), Way(2, "sse")]
WAYS_OF_UNKNOWN_ERA = [Way(2, "stream", "auto"), Way(2, "sse", "auto")]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    script = (HERE / "typescript_client.mjs").read_text()
    # Evaluated, rather than run where it is, it finds its packages from the working directory.
    command = ["node", "--input-type=module", "--eval", script, "--"]
    folder = node_modules().parent
    with (
        open_driven_process([*command, "1"], folder) as first,
        open_driven_process([*command, "2"], folder) as second,
    ):
        yield {1: first, 2: second}


@pytest.fixture(scope="module", params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


# Against the server on the Python SDK


@pytest.fixture(scope="module")
def sdk_server() -> Iterator[RunningProxy]:
    with open_proxy("--", sys.executable, str(HERE / "sdk_server.py")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(way: Way, sdk_server: RunningProxy, processes: Processes) -> Iterator[DrivenClient]:
    with processes[way.generation].connect(sdk_server, way.transport, way.mode) as connected:
        yield connected


@pytest.fixture(scope="module")
def other(way: Way, sdk_server: RunningProxy, processes: Processes) -> Iterator[DrivenClient]:
    with processes[way.generation].connect(sdk_server, way.transport, way.mode) as connected:
        yield connected


class TestWithAHandshake(HandshakeContract):
    pass


@pytest.mark.parametrize("way", WAYS_OF_UNKNOWN_ERA, ids=str, indirect=True, scope="module")
class TestInWhicheverEraTheClientFinds(SdkServerContract):
    pass


# Against the reference server that has a bit of everything


@pytest.fixture(scope="module")
def everything_server() -> Iterator[RunningProxy]:
    with open_proxy("--", str(node_modules() / ".bin" / "mcp-server-everything")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def everything(way: Way, everything_server: RunningProxy, processes: Processes) -> Iterator[DrivenClient]:
    with processes[way.generation].connect(everything_server, way.transport) as connected:
        # Roots are asked for on the server's own initiative, a while after the handshake, and never again: whoever
        # comes first, the answer is needed for all.
        connected.next_question("roots/list").answer(roots=[{"uri": "file:///home/ada", "name": "Ada's"}])
        yield connected


def test_the_client_sees_the_server_and_all_that_it_offers(everything: DrivenClient) -> None:
    assert everything.server["serverInfo"]["name"] == "mcp-servers/everything"
    assert len(everything.server["instructions"]) > 500
    tools = {tool["name"] for tool in everything.request("tools/list")["tools"]}
    assert {"echo", "get-sum", "get-structured-content", "get-tiny-image"} <= tools
    # These are registered only for clients that have said they can be asked.
    assert {"get-roots-list", "trigger-elicitation-request", "trigger-sampling-request"} <= tools


def test_tools_registered_after_the_handshake_are_announced(everything: DrivenClient) -> None:
    """They are announced at once: the client may not even have opened its stream for such news."""
    everything.next_notification("notifications/tools/list_changed")


def test_calls_are_answered(everything: DrivenClient) -> None:
    assert everything.tool("echo", message=HARD_TEXT) == f"Echo: {HARD_TEXT}"
    assert everything.tool("get-sum", a=17, b=25) == "The sum of 17 and 25 is 42."


def test_structured_content_crosses(everything: DrivenClient) -> None:
    result = everything.request("tools/call", name="get-structured-content", arguments={"location": "Chicago"})
    assert result["structuredContent"] == {"temperature": 36, "conditions": "Light rain / drizzle", "humidity": 82}


def test_an_image_crosses(everything: DrivenClient) -> None:
    image = everything.request("tools/call", name="get-tiny-image", arguments={})["content"][1]
    assert (image["type"], image["mimeType"]) == ("image", "image/png")
    assert base64.b64decode(image["data"]).startswith(b"\x89PNG\r\n\x1a\n")


def test_resources_cross_as_text_and_as_bytes(everything: DrivenClient) -> None:
    [text] = everything.request("resources/read", uri="demo://resource/dynamic/text/7")["contents"]
    assert text["text"].startswith("Resource 7: This is a plaintext resource")
    [blob] = everything.request("resources/read", uri="demo://resource/dynamic/blob/7")["contents"]
    assert base64.b64decode(blob["blob"]).startswith(b"Resource 7: This is a base64 blob")


def test_a_completion_sees_the_arguments_so_far(everything: DrivenClient) -> None:
    completed = everything.request(
        "completion/complete",
        ref={"type": "ref/prompt", "name": "completable-prompt"},
        argument={"name": "name", "value": "G"},
        context={"arguments": {"department": "Marketing"}},
    )
    assert completed["completion"]["values"] == ["Grace"]


def test_progress_of_a_slow_call_arrives_while_it_runs(everything: DrivenClient) -> None:
    call = everything.start_tool("trigger-long-running-operation", duration=0.2, steps=4)
    # The fourth comes together with the answer, and this SDK may drop what does.
    assert [call.next_progress()["progress"] for _ in range(3)] == [1, 2, 3]
    assert call.text() == "Long running operation completed. Duration: 0.2 seconds, Steps: 4."


def test_the_server_can_ask_the_model(everything: DrivenClient) -> None:
    call = everything.start_tool("trigger-sampling-request", prompt="Why?", maxTokens=7)
    question = everything.next_question("sampling/createMessage")
    assert question.params["maxTokens"] == 7
    assert question.params["temperature"] == 0.7
    assert question.params["messages"][0]["content"]["text"].endswith("context: Why?")
    question.answer(role="assistant", model="parrot", content={"type": "text", "text": "Why not?"})
    assert '"text": "Why not?"' in call.text()


def test_the_server_can_ask_the_user(everything: DrivenClient) -> None:
    call = everything.start_tool("trigger-elicitation-request")
    question = everything.next_question("elicitation/create")
    assert question.params["requestedSchema"]["properties"]["legacyTitledEnum"]["enumNames"][4] == "Reptiles"
    question.answer(action="accept", content={"name": "Ada", "integer": 7, "titledMultipleSelectEnum": ["fish-2"]})
    _, inputs, raw = call.result()["content"]
    assert inputs["text"] == "User inputs:\n- Name: Ada\n- Favorite Integer: 7"
    assert "fish-2" in raw["text"]


def test_the_server_can_ask_for_the_roots_and_again_when_they_change(everything: DrivenClient) -> None:
    assert "Ada's\n   URI: file:///home/ada" in everything.tool("get-roots-list")
    everything.notify("notifications/roots/list_changed")
    new_roots = [{"uri": "file:///srv", "name": "One"}, {"uri": "file:///mnt", "name": "Two"}]
    everything.next_question("roots/list").answer(roots=new_roots)
    while "2 root(s)" not in str(everything.next_notification("notifications/message")["data"]):
        pass
    assert "2. Two\n   URI: file:///mnt" in everything.tool("get-roots-list")


def test_the_server_logs_and_updates_what_the_client_subscribed_to(everything: DrivenClient) -> None:
    uri = "demo://resource/dynamic/text/1"
    everything.request("resources/subscribe", uri=uri)
    while not str(everything.next_notification("notifications/message")["data"]).startswith("Received Subscribe"):
        pass
    assert everything.tool("toggle-subscriber-updates").startswith("Started")
    assert everything.next_notification("notifications/resources/updated") == {"uri": uri}
    assert everything.tool("toggle-subscriber-updates").startswith("Stopped")


# Against the reference server for files


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared").resolve()


@pytest.fixture(scope="module")
def filesystem_server(shared_folder: Path) -> Iterator[RunningProxy]:
    with open_proxy("--", str(node_modules() / ".bin" / "mcp-server-filesystem"), str(shared_folder)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def filesystem(
    way: Way, filesystem_server: RunningProxy, shared_folder: Path, processes: Processes
) -> Iterator[DrivenClient]:
    with processes[way.generation].connect(filesystem_server, way.transport) as connected:
        connected.next_question("roots/list").answer(roots=[{"uri": shared_folder.as_uri()}])
        yield connected


def test_files_are_written_and_read_as_they_are(filesystem: DrivenClient, shared_folder: Path) -> None:
    path = shared_folder / "ünï 🦑.txt"
    filesystem.tool("write_file", path=str(path), content=HARD_TEXT)
    assert path.read_bytes() == HARD_TEXT.encode()
    assert filesystem.tool("read_text_file", path=str(path)) == HARD_TEXT
    assert "[FILE] ünï 🦑.txt" in filesystem.tool("list_directory", path=str(shared_folder))


def test_a_file_of_megabytes_crosses_in_both_directions(filesystem: DrivenClient, shared_folder: Path) -> None:
    content = "".join(f"line {number}\n" for number in range(150_000))
    path = shared_folder / "big.txt"
    filesystem.tool("write_file", path=str(path), content=content)
    assert path.read_text() == content
    assert filesystem.tool("read_text_file", path=str(path)) == content


def test_a_refusal_of_the_server_crosses_as_a_result(filesystem: DrivenClient) -> None:
    result = filesystem.request("tools/call", name="read_text_file", arguments={"path": "/etc/passwd"})
    assert result["isError"] is True
    assert "outside allowed directories" in result["content"][0]["text"]


def test_the_server_follows_the_roots_of_the_client(filesystem: DrivenClient, tmp_path: Path) -> None:
    filesystem.notify("notifications/roots/list_changed")
    filesystem.next_question("roots/list").answer(roots=[{"uri": tmp_path.resolve().as_uri()}])
    # The server says nothing when it has understood, so that we have to ask until it has.
    while str(tmp_path.resolve()) not in filesystem.tool("list_allowed_directories"):
        pass
    filesystem.tool("write_file", path=str(tmp_path.resolve() / "new.txt"), content="here")
    assert (tmp_path / "new.txt").read_text() == "here"
