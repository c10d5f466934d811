"""What the server says unasked: logs, progress, and that something has changed.

Who hears it differs by era.  In the handshake revisions a client asks once (`logging/setLevel`, `resources/subscribe`), and
hears the rest without asking; in 2026-07-28 each request says whether it wants logs, and `subscriptions/listen` is a request
for changes.  The SDK sees to the latter, and drops here what was not asked for; the former is ours to remember.
"""

from __future__ import annotations

from typing import Final, get_args

import anyio
import mcp.types as types
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)

from .asking import Call, Context
from .everything_tools import text, tool

STEP: Final = 0.05
"""Seconds between two messages of one call, so that a client sees them come one by one."""
WATCHED: Final = "test://watched-resource"
CHANGES: Final = InMemorySubscriptionBus()
"""What has changed, for the streams of `subscriptions/listen`."""

_LEVELS: Final[tuple[types.LoggingLevel, ...]] = get_args(types.LoggingLevel)
_subscribed: Final[set[str]] = set()
_quiet: Final[set[types.LoggingLevel]] = set()
"""The levels that the client does not want, since it said so by `logging/setLevel`."""


async def set_logging_level(context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    _quiet.clear()
    _quiet.update(_LEVELS[: _LEVELS.index(params.level)])
    return types.EmptyResult()


async def subscribe(context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    _subscribed.add(str(params.uri))
    return types.EmptyResult()


async def unsubscribe(context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    _subscribed.discard(str(params.uri))
    return types.EmptyResult()


# --- In the middle of a call.


async def _log(call: Call, words: str, level: types.LoggingLevel = "info") -> None:
    if call.is_modern or level not in _quiet:
        await call.context.session.send_log_message(level, words, related_request_id=call.context.request_id)


@tool()
async def test_tool_with_logging(call: Call) -> list[types.ContentBlock]:
    """Logs three messages while it runs."""
    await _log(call, "Tool execution started")
    await anyio.sleep(STEP)
    await _log(call, "Tool processing data")
    await anyio.sleep(STEP)
    await _log(call, "Tool execution completed")
    return [text("Tool with logging executed successfully")]


@tool()
async def test_logging_tool(call: Call) -> list[types.ContentBlock]:
    """Logs one message of each level."""
    for level in _LEVELS:
        await _log(call, f"A message of level {level}", level)
    return [text(f"Logged at {len(_LEVELS)} levels")]


@tool()
async def test_tool_with_progress(call: Call) -> list[types.ContentBlock]:
    """Reports 0, 50 and 100 of 100 while it runs, to a client that asked for progress."""
    for progress in (0, 50, 100):
        await call.context.session.report_progress(progress, 100, f"Completed step {progress} of 100")
        await anyio.sleep(STEP)
    return [text("Tool with progress executed successfully")]


@tool()
async def test_reconnection(call: Call) -> list[types.ContentBlock]:
    """Runs long enough for a client to lose its stream and come back for the answer.

    A server over HTTP would close the stream of this call here (SEP-1699).  A stdio server has none: whether to close it
    is the proxy's affair, and the answer must arrive either way.
    """
    await anyio.sleep(4 * STEP)
    return [text("Reconnection test completed successfully")]


# --- Changes, which concern whoever listens.  Nothing really changes: a client would have to ask to find out.


@tool()
async def test_trigger_tool_change(call: Call) -> list[types.ContentBlock]:
    """Says that the list of tools has changed."""
    await call.context.session.send_tool_list_changed()
    await CHANGES.publish(ToolsListChanged())
    return [text("Said that the tools have changed")]


@tool()
async def test_trigger_prompt_change(call: Call) -> list[types.ContentBlock]:
    """Says that the list of prompts has changed."""
    await call.context.session.send_prompt_list_changed()
    await CHANGES.publish(PromptsListChanged())
    return [text("Said that the prompts have changed")]


@tool()
async def test_trigger_resource_change(call: Call) -> list[types.ContentBlock]:
    """Says that the list of resources has changed."""
    await call.context.session.send_resource_list_changed()
    await CHANGES.publish(ResourcesListChanged())
    return [text("Said that the resources have changed")]


@tool()
async def test_trigger_resource_update(call: Call) -> list[types.ContentBlock]:
    """Says that the watched resource has changed, to whoever has subscribed to it."""
    if WATCHED in _subscribed:
        await call.context.session.send_resource_updated(WATCHED)
    await CHANGES.publish(ResourceUpdated(WATCHED))
    return [text("Said that the watched resource has changed")]
