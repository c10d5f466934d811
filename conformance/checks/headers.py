"""The headers that repeat what the body says (2026-07-28, Streamable HTTP §Request Metadata)."""

from __future__ import annotations

import base64
import json

from ..conversation import MODERN, Message, Requests
from ..trial import Trial, check
from ..wire import encode

HEADER_MISMATCH = -32020


async def expect_mismatch(trial: Trial, message: Message, why: str, **headers: str) -> None:
    """Expect 400 and -32020 for a message whose headers don't fit."""
    async with trial.requests().open(message, **headers) as call:
        await call.finish()
        came = f"{call.reply.status} {json.dumps(call.response)}"
        trial.expect(call.reply.status == 400, f"400 for {why}", came)
        trial.expect(call.response is not None, f"an error with the request's id for {why}", call.seen)
        trial.expect(call.error.get("code") == HEADER_MISMATCH, f"the code -32020 for {why}", came)


def _named(trial: Trial, talk: Requests) -> Message:
    """A request of which Mcp-Name repeats a name, whether or not there is such a thing."""
    recipe = trial.survey.find("quick")
    return talk.request("tools/call", recipe.params if recipe else {"name": "no-such-tool", "arguments": {}})


@check()
async def a_version_that_differs_is_refused(trial: Trial) -> None:
    """MCP-Protocol-Version must be what the body says."""
    for version in ("2025-11-25", "1999-12-31"):
        message = trial.requests().request("tools/list")
        await expect_mismatch(trial, message, f"MCP-Protocol-Version: {version}", mcp_protocol_version=version)


@check()
async def a_missing_version_is_refused(trial: Trial) -> None:
    """Without MCP-Protocol-Version a request is refused, unless the server serves clients that knew no such header."""
    if set(trial.survey.also_speaks) & {"2024-11-05", "2025-03-26"}:
        trial.skip("the server speaks revisions that have no such header, and may take the request for one of theirs")
    message = trial.requests().request("tools/list")
    await expect_mismatch(trial, message, "a request without MCP-Protocol-Version", mcp_protocol_version="")


@check()
async def a_method_that_differs_is_refused(trial: Trial) -> None:
    """Mcp-Method must be the method, to the letter."""
    for method in ("tools/call", "TOOLS/LIST", "tools/list/"):
        message = trial.requests().request("tools/list")
        await expect_mismatch(trial, message, f"Mcp-Method: {method} on tools/list", mcp_method=method)


@check()
async def a_missing_method_is_refused(trial: Trial) -> None:
    """Mcp-Method is required of every request."""
    await expect_mismatch(trial, trial.requests().request("tools/list"), "a request without Mcp-Method", mcp_method="")


@check()
async def a_name_that_differs_is_refused(trial: Trial) -> None:
    """Mcp-Name must be the name of the tool or prompt, or the URI of the resource."""
    talk = trial.requests()
    message = _named(trial, talk)
    await expect_mismatch(trial, message, "Mcp-Name: another-tool on tools/call", mcp_name="another-tool")
    if "resources" in trial.survey.capabilities:
        message = talk.request("resources/read", {"uri": "conformance://one"})
        await expect_mismatch(trial, message, "another Mcp-Name on resources/read", mcp_name="conformance://two")
    if "prompts" in trial.survey.capabilities:
        message = talk.request("prompts/get", {"name": "one"})
        await expect_mismatch(trial, message, "another Mcp-Name on prompts/get", mcp_name="two")


@check()
async def a_missing_name_is_refused(trial: Trial) -> None:
    """Mcp-Name is required of tools/call, prompts/get and resources/read."""
    message = _named(trial, trial.requests())
    await expect_mismatch(trial, message, "tools/call without Mcp-Name", mcp_name="")


@check()
async def an_encoded_name_is_decoded(trial: Trial) -> None:
    """A name in Base64 is as good as the same in plain letters."""
    talk = trial.requests()
    message = _named(trial, talk)
    encoded = f"=?base64?{base64.b64encode(message['params']['name'].encode()).decode()}?="
    async with talk.open(message, mcp_name=encoded) as call:
        await call.finish()
        refused = ((call.response or {}).get("error") or {}).get("code") == HEADER_MISMATCH
        trial.expect(call.response is not None and not refused, f"no mismatch for Mcp-Name: {encoded}", call.response)
    other = f"=?base64?{base64.b64encode(b'another-tool').decode()}?="
    await expect_mismatch(trial, message, f"Mcp-Name: {other} (another-tool)", mcp_name=other)


@check()
async def the_marks_of_an_encoded_name_are_exact(trial: Trial) -> None:
    """`=?BASE64?…?=` is a name like any other, and not the right one."""
    message = _named(trial, trial.requests())
    loud = f"=?BASE64?{base64.b64encode(message['params']['name'].encode()).decode()}?="
    await expect_mismatch(trial, message, f"Mcp-Name: {loud}", mcp_name=loud)


@check()
async def names_of_headers_have_no_case(trial: Trial) -> None:
    """MCP-PROTOCOL-VERSION, mcp-method and mCp-NaMe are the headers that are meant."""
    talk = trial.requests()
    for change in (str.upper, str.lower, str.title, str.swapcase):
        message = _named(trial, talk)
        given = {change(name): value for name, value in talk.headers(message).items()}
        async with trial.wire.open("POST", given, encode(message)) as reply:
            body = (await reply.body()).decode(errors="replace")
            trial.expect(reply.status != 400, f"no refusal of {', '.join(given)}", f"{reply.status} {body}")


@check()
async def a_version_that_is_sent_twice_is_refused(trial: Trial) -> None:
    """Two versions in two headers can't both be what the body says."""
    talk = trial.requests()
    message = talk.request("tools/list")
    given = [*talk.headers(message).items(), ("MCP-Protocol-Version", "2025-11-25")]
    async with trial.wire.open("POST", given, encode(message)) as reply:
        body = (await reply.body()).decode(errors="replace")
        trial.expect(reply.status == 400, f"400 for MCP-Protocol-Version: {MODERN} and 2025-11-25", f"{reply.status} {body}")
