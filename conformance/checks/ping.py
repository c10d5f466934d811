"""The simplest request there is (Utilities §Ping; 2024-11-05 to 2025-11-25)."""

from __future__ import annotations

from ..trial import Trial, check

PROMPTLY = 5.0


@check()
async def a_ping_is_answered_promptly_with_nothing(trial: Trial) -> None:
    """The result of a ping is an empty object, within five seconds."""
    async with trial.talk() as talk:
        with trial.within(PROMPTLY):
            result = (await talk.ask("ping")).result
        trial.expect(not set(result) - {"_meta"}, "an empty result", result)
