"""MCP-Protocol-Version, where there is a session (Transports §Protocol Version Header; 2025-06-18 and 2025-11-25)."""

from __future__ import annotations

from ..trial import Trial, check


@check()
async def an_unsupported_version_is_refused_with_400(trial: Trial) -> None:
    """A version that nobody knows, or that is none, gets 400."""
    async with trial.session() as session:
        for version in ("1999-12-31", "latest", "2025-11-25, 2025-06-18"):
            async with session.open(session.request("ping"), mcp_protocol_version=version) as call:
                status = call.reply.status
                trial.expect(status == 400, f"400 for MCP-Protocol-Version: {version}", status)


@check()
async def a_missing_version_is_no_offence(trial: Trial) -> None:
    """Without the header the server goes by what was negotiated, or by 2025-03-26; in either case it serves."""
    async with trial.session() as session, session.open(session.request("ping"), mcp_protocol_version="") as call:
        await call.finish()
        trial.expect("result" in (call.response or {}), "a result for a request without the header", call.response)
