"""server/discover (2026-07-28, Discovery, and Versioning §Protocol Version Negotiation)."""

from __future__ import annotations

import re

from ..conversation import MODERN, RESERVED
from ..trial import Trial, check

_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_EXTENSION = re.compile(rf"{_LABEL}(?:\.{_LABEL})*/(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?")


@check()
async def a_server_can_be_discovered(trial: Trial) -> None:
    """The result names the versions that are supported, this one among them, and the capabilities."""
    result = (await trial.requests().ask("server/discover")).result
    versions = result.get("supportedVersions")
    fine = isinstance(versions, list) and MODERN in versions
    trial.expect(fine, f"supportedVersions with {MODERN}", result)
    trial.expect(isinstance(result.get("capabilities"), dict), "capabilities, an object", result)


@check()
async def a_server_names_itself(trial: Trial) -> None:
    """The `_meta` of the result has the name and the version of the server."""
    result = (await trial.requests().ask("server/discover")).result
    information = (result.get("_meta") or {}).get(RESERVED + "serverInfo")
    fine = isinstance(information, dict) and all(isinstance(information.get(one), str) for one in ("name", "version"))
    trial.expect(fine, f"{RESERVED}serverInfo with a name and a version", result)


@check()
async def extensions_have_a_prefix(trial: Trial) -> None:
    """The identifier of an extension is a prefix, a slash and a name."""
    extensions = trial.survey.capabilities.get("extensions")
    if not extensions:
        trial.skip("the server advertises no extensions")
    for identifier in extensions:
        trial.expect(_EXTENSION.fullmatch(str(identifier)) is not None, "a prefix, a slash and a name", identifier)
