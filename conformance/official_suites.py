"""The official suites: which scenarios of which release, and what is put before or behind them.

A scenario tests a server or a client.  As a server it gets the proxy, before the everything server; as a client it gets the
bridge, behind a host.  In both cases what stands on our other side may be of the other era, so that everything has to be
translated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from .everything_server import Era

Side: TypeAlias = Literal["server", "client"]


@dataclass(frozen=True)
class Scenario:
    """A scenario of a suite; one that isn't `required` is run and reported, but never scored by the suite itself."""

    name: str
    required: bool = True


@dataclass(frozen=True)
class Suite:
    """A selection of scenarios from one release of the official package.

    Args:
      side: what the scenarios test.
      era: which clients the server behind the proxy serves by itself; or, of the host before the bridge, which it is.
      list_options: what `list` needs to name the scenarios.
      run_options: what `server` or `client` needs to run one of them on the wire that is meant.
      extensions: scenarios of extensions that we have; others are left out.
      leaves_out: how the names of scenarios begin that are left out, since another suite runs them.
      bridge_options: for the bridge.
    """

    name: str
    release: str
    era: Era
    side: Side = "server"
    list_options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    leaves_out: str | None = None
    bridge_options: tuple[str, ...] = ()

    def select(self, printed: str) -> list[Scenario]:
        """Return the scenarios to run, of those that the package's `list` has printed."""
        listed = parse_list(printed, self.side, self.extensions)
        return [s for s in listed if self.leaves_out is None or not s.name.startswith(self.leaves_out)]


def parse_list(printed: str, side: Side = "server", extensions: tuple[str, ...] = ()) -> list[Scenario]:
    """Read the names of the scenarios for one side from what the suite's `list` prints.

    There they are twice: under a heading of their own, and, if not scored, among the others with `[server]` or `[client]`
    behind them.

    Args:
      extensions: which of those that test an extension are meant, too.
    """
    scenarios: list[Scenario] = []
    heading = group = ""
    for line in printed.splitlines():
        if line and not line.startswith(" "):
            heading, group = line, ""
        elif match := re.fullmatch(r" +- (\S+)(?: \[(.*)\])?", line):
            if heading.startswith(f"{side.capitalize()} scenarios"):
                scenarios.append(Scenario(match[1]))
            elif match[2] == side and (group != "extension" or match[1] in extensions):
                scenarios.append(Scenario(match[1], required=False))
        elif match := re.fullmatch(r" +(\S+) \(\d+\):", line):
            group = match[1]
    return scenarios


_PREVIEW: Final = "0.2.0-alpha.12"
"""The newest of the releases that know of revisions; all of them are previews."""
_EXTENSIONS: Final = ("auth/client-credentials-basic",)


def _of_servers(name: str, revision: str, era: Era) -> Suite:
    """What a revision requires of a server, and what is run with it without being scored."""
    return Suite(name, _PREVIEW, era, "server", ("--requirements", revision), ("--spec-version", revision))


def _of_clients(name: str, revision: str, era: Era, **more: Any) -> Suite:
    """The same of a client."""
    # Extensions belong to no revision, and are not run at any without force.
    return Suite(
        name, _PREVIEW, era, "client", ("--requirements", revision), ("--spec-version", revision, "--force"), **more
    )


SUITES: Final = {
    suite.name: suite
    for suite in (
        # The newest release that isn't a preview: every scenario it has (`--suite all`).
        Suite("stable", "0.1.16", "dual"),
        _of_servers("2025-11-25", "2025-11-25", "dual"),
        _of_servers("2026-07-28", "2026-07-28", "modern"),
        # Before a server which knows only the other era.
        _of_servers("2025-11-25-to-modern", "2025-11-25", "modern"),
        _of_servers("2026-07-28-to-legacy", "2026-07-28", "legacy"),
        _of_clients("client-2025-11-25", "2025-11-25", "legacy", extensions=_EXTENSIONS),
        _of_clients("client-2026-07-28", "2026-07-28", "modern", extensions=_EXTENSIONS),
        # Behind a host which knows only the other era; signing in is no question of eras.
        _of_clients("client-2025-11-25-for-modern", "2025-11-25", "modern", leaves_out="auth/"),
        # Some of its servers answer `initialize` as if there were one in the newest revision, so the bridge is told better.
        _of_clients(
            "client-2026-07-28-for-legacy",
            "2026-07-28",
            "legacy",
            leaves_out="auth/",
            bridge_options=("--protocol", "modern"),
        ),
    )
}
