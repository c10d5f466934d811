"""What crosses the proxy, whichever client is at its one end, with `sdk_server` at the other.

A test module inherits these tests by subclassing `SdkServerContract` and giving it two clients, each with a session that
lasts for all of them: `client`, and an `other` which does little else than be the other one.
"""

import hashlib

import pytest
from mcp_types import LOG_LEVEL_META_KEY

from .driven_client import DrivenClient, ErrorAnswer

NOTE = "note://today"

HARD_TEXT = 'line\nfeed \r\n, \u2028, \x85, "quotes", back\\slash, \x00, tab\t, ünï, 漢字, 🦑, 👩🏽‍🚀, \u202ertl'


class SdkServerContract:
    def test_the_client_learns_who_the_server_is(self, client: DrivenClient) -> None:
        assert client.server["serverInfo"] == {"name": "sdk_server", "version": "1.2.3"}
        assert client.server["instructions"] == "Ask, and it shall be relayed."
        assert client.server["capabilities"]["resources"]["subscribe"] is True
        assert client.server["capabilities"]["tools"]["listChanged"] is True

    def test_text_comes_back_as_it_went_whatever_is_in_it(self, client: DrivenClient) -> None:
        assert client.tool("echo", text=HARD_TEXT) == HARD_TEXT

    def test_a_big_result_arrives_whole(self, client: DrivenClient) -> None:
        text = client.tool("big", size=4_000_000)
        assert len(text) == 4_000_000
        assert hash(text) == hash("".join(f"{number:08x}" for number in range(500_000)))

    def test_a_big_argument_arrives_whole(self, client: DrivenClient) -> None:
        text = "".join(f"é{number:06x}" for number in range(500_000))
        assert client.tool("digest", text=text) == hashlib.sha256(text.encode()).hexdigest()

    def test_an_error_keeps_its_code_and_its_data(self, client: DrivenClient) -> None:
        with pytest.raises(ErrorAnswer) as caught:
            client.tool("fail")
        assert caught.value.code == 4242
        assert "failed as asked" in caught.value.message
        assert caught.value.data == {"evidence": ["π", None, 1e100]}
        assert client.tool("echo", text="still here") == "still here"

    def test_progress_arrives_in_order_while_the_call_still_runs(self, client: DrivenClient) -> None:
        """The call ends only when all has been heard.

        Else some clients would miss the last of it: the TypeScript SDK handles a notification a tick later than an
        answer, and drops progress of a call that has been answered by then.
        """
        call = client.start_tool("count_and_wait", to=50, party="listener")
        heard = [call.next_progress() for _ in range(50)]
        assert heard == [{"progress": number, "total": 50, "message": f"step {number}"} for number in range(1, 51)]
        client.tool("meet", party="listener", name="all heard", size=1)
        assert call.text() == "counted to 50"

    def test_log_messages_arrive_complete_and_in_order(self, client: DrivenClient) -> None:
        # A modern client says with each request that it wants logs; in the handshake revisions nobody minds.
        opt_in = {LOG_LEVEL_META_KEY: "debug"}
        call = client.start("tools/call", name="log", arguments={"lines": 20}, _meta=opt_in)
        assert call.text() == "logged 20 lines"
        heard = [client.next_notification("notifications/message") for _ in range(20)]
        assert heard == [{"level": "info", "logger": "sdk_server", "data": {"line": number}} for number in range(20)]

    def test_a_question_reaches_the_user_and_the_answer_the_server(self, client: DrivenClient) -> None:
        call = client.start_tool("ask", question="Six by seven?")
        question = client.next_question("elicitation/create")
        assert question.params["message"] == "Six by seven?"
        assert question.params["requestedSchema"]["required"] == ["answer"]
        question.answer(action="accept", content={"answer": "42, ünï"})
        assert call.text() == "accept: 42, ünï"

    def test_a_prompt_reaches_the_model_and_the_completion_the_server(self, client: DrivenClient) -> None:
        call = client.start_tool("sample", prompt="Say yes")
        question = client.next_question("sampling/createMessage")
        assert question.params["maxTokens"] == 50
        assert question.params["messages"] == [{"role": "user", "content": {"type": "text", "text": "Say yes"}}]
        question.answer(role="assistant", model="parrot", content={"type": "text", "text": "yes"})
        assert call.text() == "parrot: yes"

    def test_the_server_learns_the_roots_of_the_client(self, client: DrivenClient) -> None:
        call = client.start_tool("roots")
        client.next_question("roots/list").answer(roots=[{"uri": "file:///tmp/a%20b", "name": "scratch"}])
        assert call.text() == "scratch=file:///tmp/a%20b"

    def test_a_cancelled_call_is_cancelled_in_the_server_and_nowhere_else(self, client: DrivenClient) -> None:
        call = client.start_tool("wait_for_cancellation", name="given up")
        assert call.next_progress()["message"] == "waiting"
        call.cancel()
        assert client.tool("was_cancelled", name="given up") == "given up was cancelled"

    def test_of_many_calls_in_flight_each_gets_its_own_answer(self, client: DrivenClient) -> None:
        """The server answers none before all have arrived: they do overlap."""
        names = [f"guest {number}" for number in range(20)]
        calls = [client.start_tool("meet", party="twenty", name=name, size=20) for name in names]
        assert [call.text() for call in calls] == names

    def test_two_clients_are_each_asked_their_own_question(self, client: DrivenClient, other: DrivenClient) -> None:
        """Neither answers before both have been asked, so both questions are on their way at once."""
        calls = [client.start_tool("ask", question="Ada?"), other.start_tool("ask", question="Grace?")]
        questions = [client.next_question("elicitation/create"), other.next_question("elicitation/create")]
        assert [question.params["message"] for question in questions] == ["Ada?", "Grace?"]
        for question, answer in zip(questions, ("I am Ada", "I am Grace"), strict=True):
            question.answer(action="accept", content={"answer": answer})
        assert [call.text() for call in calls] == ["accept: I am Ada", "accept: I am Grace"]


class HandshakeContract(SdkServerContract):
    """What the handshake revisions have and 2026-07-28 has not: a child for each session, and a stream without a request."""

    def test_a_server_may_ask_while_no_request_is_in_flight(self, other: DrivenClient) -> None:
        """Nothing but the standalone stream can carry the question, nor the log message after it."""
        other.notify("notifications/roots/list_changed")
        other.next_question("roots/list").answer(roots=[{"uri": "file:///new"}])
        logged = other.next_notification("notifications/message")
        assert logged == {"level": "notice", "data": ["file:///new"]}

    def test_what_changes_is_announced_to_the_client_of_that_child_only(
        self, client: DrivenClient, other: DrivenClient
    ) -> None:
        assert client.tool("process_id") != other.tool("process_id")
        for each in (client, other):
            each.request("resources/subscribe", uri=NOTE)

        for text in ("first", "second"):
            other.tool("write_note", text=text)
            assert other.next_notification("notifications/resources/updated")["uri"] == NOTE
            [note] = other.request("resources/read", uri=NOTE)["contents"]
            assert note["text"] == text

        other.tool("reveal")
        other.next_notification("notifications/tools/list_changed")
        assert "secret" in {tool["name"] for tool in other.request("tools/list")["tools"]}
        assert other.tool("secret") == "the cake is real"

        assert "secret" not in {tool["name"] for tool in client.request("tools/list")["tools"]}
        assert client.notifications["notifications/resources/updated"].empty()
        assert client.notifications["notifications/tools/list_changed"].empty()

    def test_prompts_and_completions_cross(self, client: DrivenClient) -> None:
        [message] = client.request("prompts/get", name="greet", arguments={"name": "Ada"})["messages"]
        assert message["content"]["text"] == "Greet Ada."
        greet = {"type": "ref/prompt", "name": "greet"}
        completed = client.request("completion/complete", ref=greet, argument={"name": "name", "value": "A"})
        assert completed["completion"]["values"] == ["Ada", "Alan"]
