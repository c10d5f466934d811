"""The page on which several peers are side by side.

In a table a check has one row, although it was run in several revisions: what it came to is said in a word, with the
revisions where they differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from .catalogue import Entry, level_of, sentences_behind
from .compare import Run
from .compare_report import Explanation, Report
from .peers import OURS, PEERS, SERVERS, TITLES
from .reports import citation
from .trial import CHECKS, Verdict

_SHOWN: Final = 300
"""Characters of what came that are shown; JSON has all."""
_SILENT: Final = ("passed", "skipped")
_NOT_APPLICABLE: Final = "-"
_SDKS_ARE: Final = (
    "No proxy is between these and the checks.  What they don't pass is a fault of the SDK, of the server written on it, or"
    " of the check; which of them, has been looked into by hand."
)
_HOW_TO_READ: Final = (
    "and not edited by hand.",
    "",
    "Each peer is started as its own documentation says, with nothing set that need not be, in front of the same servers,",
    "and gets the same checks in each revision that it speaks.  What a check sees, and which sentences it stands for, is",
    "said by `python -m conformance list` and in `conformance/checks`.",
    "",
    "In the tables **no** is a MUST that is broken and *no* a SHOULD; with revisions behind it, it is so in these only.  A",
    "dash is a check that does not apply: the server has no tool for it, or the peer lacks what it is about.  An empty cell",
    "was not run, since the revision isn't spoken.",
    "",
)
_PART: Final = re.compile(r" --(peer|server)[ =]\S+")
_IN_PARTS: Final = "in parts, some peers and servers at a time (`--peer`, `--server`), put together with `--earlier`,"
_BETTER: Final = f"What another passes and {OURS} does not.  Skipped is what does not apply to it, for the reason given."
_IN_SHORT: Final = (
    "MUSTs that hold / that are broken, in so many revisions; each counts in every revision in which it was run."
)
_PAGES: Final = ("2025-11-25", "2026-07-28", "2025-06-18", "2025-03-26", "2024-11-05")
"""In which revision's pages a check is looked for first."""


def as_markdown(report: Report, explained: Sequence[Explanation]) -> str:
    """The page: a summary and a table for each server, then what came instead, and where others are better."""
    proxies = [run for run in report.runs if PEERS[run.peer].is_proxy]
    servers = [run for run in report.runs if not PEERS[run.peer].is_proxy]
    parts = [_head(report)]
    if proxies:
        parts += ["## In short", _IN_SHORT, _short(proxies)]
    for server, (title, _) in SERVERS.items():
        if own := [run for run in proxies if run.server == server]:
            parts += [f"## In front of the {title}", *_section(own)]
    if proxies:
        parts += ["## Where others are better", _better(proxies)]
        parts += [
            "## What came instead",
            "For each proxy what it did in place of what was expected.",
            *_reds(proxies, explained),
        ]
    if servers:
        parts += [
            "## The official SDKs' own servers",
            _SDKS_ARE,
            *_section(servers),
            *_reds(servers, explained, cite=True),
        ]
    return "\n\n".join(parts) + "\n"


def _head(report: Report) -> str:
    """What this is, when and where it was made, and how each peer was started."""
    dates = sorted({run.date for run in report.runs})
    when = dates[0] if dates[:1] == dates[-1:] else f"{dates[0]} to {dates[-1]}" if dates else "never"
    platforms = "; ".join(sorted({run.platform for run in report.runs}))
    lines = [
        "# The same checks, other proxies",
        "",
        f"Made on {when} ({platforms}) by",
        "",
        *(f"    {command}" for command in dict.fromkeys(map(_without_places, report.commands))),
        "",
        *([_IN_PARTS] if any(_PART.search(command) for command in report.commands) else []),
        *_HOW_TO_READ,
        "| peer | | started with |",
        "|---|---|---|",
    ]
    commands = {(_order(run), run.column, TITLES[run.transport], run.command): None for run in report.runs}
    for _, column, transport, command in sorted(commands):
        lines.append(f"| {column} | {transport} | `{command}` |")
    return "\n".join(lines)


def _without_places(command: str) -> str:
    """A command without those of its options that say where things are kept, or which part of the page it made."""
    return _PART.sub("", re.sub(r" --(output|cache|format|earlier)[ =]\S+", "", command))


def _order(run: Run) -> int:
    return list(PEERS).index(run.peer)


def _short(runs: Sequence[Run]) -> str:
    """A row a peer, a column a server."""
    servers = [server for server in SERVERS if any(run.server == server for run in runs)]
    rows = [
        [column, *(_short_cell([run for run in own if run.server == server]) for server in servers)]
        for column, own in _columns(runs).items()
    ]
    return _table(["", *(SERVERS[server][0] for server in servers)], rows)


def _short_cell(runs: Sequence[Run]) -> str:
    musts = [verdict for run in runs for verdict in run.verdicts if verdict.level == "MUST"]
    if not musts:
        return "does not start" if any(run.broken_off for run in runs) else "no revision" if runs else ""
    held, broken = (sum(verdict.outcome == outcome for verdict in musts) for outcome in ("passed", "failed"))
    revisions = len({verdict.revision for verdict in musts})
    return f"{held} / {broken} in {revisions}"


def _section(runs: Sequence[Run]) -> list[str]:
    """What became of several peers in the same place: numbers, checks, and what they could not do at all."""
    columns = _columns(runs)
    parts = ["Passed / not passed / not applicable:", _numbers(columns), _checks(columns)]
    notes = [
        f"- {column}, {revision}: not spoken.  {_code(why)}"
        for column, own in columns.items()
        for run in own
        for revision, why in run.unspoken
    ]
    notes += [
        f"- {column}, {TITLES[run.transport]}: {_code(run.broken_off)}"
        for column, own in columns.items()
        for run in own
        if run.broken_off
    ]
    notes += [
        f"- {column}: had to be started anew after {_code(incident)}"
        for column, own in columns.items()
        for run in own
        for incident in run.incidents
    ]
    return [*parts, *(["\n".join(notes)] if notes else [])]


def _columns(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each peer, in the order of the peers."""
    columns: dict[str, list[Run]] = {}
    for run in sorted(runs, key=_order):
        columns.setdefault(run.column, []).append(run)
    return columns


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _numbers(columns: Mapping[str, Sequence[Run]]) -> str:
    rows = []
    found = {(v.revision, v.level) for own in columns.values() for run in own for v in run.verdicts}
    for revision, level in sorted(found):
        cells = [_number(own, revision, level) for own in columns.values()]
        rows.append([revision, level, *cells])
    return _table(["", "", *columns], rows)


def _number(runs: Sequence[Run], revision: str, level: str) -> str:
    found = [v for run in runs for v in run.verdicts if v.revision == revision and v.level == level]
    if found:
        passed, skipped = (sum(v.outcome == outcome for v in found) for outcome in _SILENT)
        return f"{passed} / {len(found) - passed - skipped} / {skipped}"
    if any(revision == one for run in runs for one, _ in run.unspoken):
        return "not spoken"
    carries = [run for run in runs if (run.transport == "sse") == (revision == "2024-11-05")]
    return "does not start" if any(run.broken_off for run in carries) else "" if carries else "no such transport"


def _checks(columns: Mapping[str, Sequence[Run]]) -> str:
    """A row a check: page by page, what MUST be before what SHOULD; those that apply to nobody in a line below."""
    every = [verdict for own in columns.values() for run in own for verdict in run.verdicts]
    musts = {verdict.check for verdict in every if verdict.level == "MUST"}
    names = [name for name in CHECKS if any(verdict.check == name for verdict in every)]
    names += sorted({verdict.check for verdict in every} - set(CHECKS))
    pages: dict[str, list[str]] = {}
    for name in names:
        pages.setdefault(_page(name), []).append(name)
    rows: list[list[str]] = []
    nobodys: list[str] = []
    for page, checks in pages.items():
        for level in ("MUST", "SHOULD"):
            own: list[list[str]] = []
            for name in (name for name in checks if (name in musts) == (level == "MUST")):
                found = [[v for run in runs for v in run.verdicts if v.check == name] for runs in columns.values()]
                cells = [_cell(verdicts) for verdicts in found]
                if set(cells) <= {"", _NOT_APPLICABLE}:
                    nobodys.append(f"`{name}`")
                else:
                    own.append([f"`{name}`", *cells])
            if own:
                rows += [[f"**{page}, {level}**", *("" for _ in columns)], *own]
    below = f"\n\nThese apply to none of them: {', '.join(nobodys)}." if nobodys else ""
    return _table(["", *columns], rows) + below


def _page(check: str) -> str:
    for revision in _PAGES:
        for entry in sentences_behind(check, revision):
            if entry.level == level_of(check, revision):
                return entry.sentence.page
    return "elsewhere"


def _cell(verdicts: Sequence[Verdict]) -> str:
    """What a check came to in the revisions in which it was run."""
    bad = [verdict for verdict in verdicts if verdict.outcome not in _SILENT]
    passed = [verdict for verdict in verdicts if verdict.outcome == "passed"]
    if not bad:
        return "yes" if passed else _NOT_APPLICABLE if verdicts else ""
    word = "**no**" if any(verdict.outcome == "failed" for verdict in bad) else "*no*"
    return f"{word} ({', '.join(sorted(v.revision for v in bad))})" if passed else word


def _code(text: str) -> str:
    """A text from elsewhere, in one line, cut, and so that nothing in it is markup."""
    line = " ".join(text.split()).replace("`", "'").replace("|", "¦")
    return f"`{line[:_SHOWN]}{'…' if len(line) > _SHOWN else ''}`" if line else ""


# --- What did not pass


def _reds(runs: Sequence[Run], explained: Sequence[Explanation], *, cite: bool = False) -> list[str]:
    """For each peer what it did instead, check by check; `cite` adds the sentences."""
    parts = []
    for column, own in _columns(runs).items():
        found: dict[str, list[tuple[Run, Verdict]]] = {}
        for run in own:
            for verdict in run.verdicts:
                if verdict.outcome not in _SILENT:
                    found.setdefault(verdict.check, []).append((run, verdict))
        lines = [_red(name, reds, cite=cite, explained=explained) for name, reds in sorted(found.items())]
        if lines or cite:
            parts.append(f"### {column}")
            parts.append("\n".join(lines) if lines else "Nothing did not pass.")
    return parts


def _red(name: str, reds: Sequence[tuple[Run, Verdict]], *, cite: bool, explained: Sequence[Explanation]) -> str:
    run, verdict = reds[0]
    where = ", ".join(sorted({one.revision for _, one in reds}))
    servers = [server for server in SERVERS if any(run.server == server for run, _ in reds)]
    before = f"; before {', '.join(servers)}" if servers else ""
    line = f"- {verdict.level} `{name}` ({where}{before}): expected {_plain(verdict.expected)}; came {_code(verdict.came)}"
    if cite:
        for entry in _sentences(verdict):
            line += f"\n  - {entry.level}, {citation(entry, verdict.revision)}: “{entry.sentence.text}”"
    for one in explained:
        if run.peer in one.peers and one.check == name:
            line += f"\n  - {one.why}"
    return line


def _sentences(verdict: Verdict) -> list[Entry]:
    """The sentences that make a verdict what it is: not those of a SHOULD behind a MUST."""
    return [entry for entry in sentences_behind(verdict.check, verdict.revision) if entry.level == verdict.level]


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "¦").replace("*", "\\*")


# --- Where others are better


def _better(runs: Sequence[Run]) -> str:
    """The checks that a peer passes, and trioproxy does not or has no verdict on, before the same server."""
    servers = {run.server for run in runs if run.peer == OURS}
    if not servers:
        return f"Not to be said: {OURS} is not among those compared."
    ours = {(run.server, v.check, v.revision): v for run in runs if run.peer == OURS for v in run.verdicts}
    better: dict[tuple[str, str, str], list[str]] = {}
    for run in sorted((run for run in runs if run.server in servers), key=_order):
        for verdict in run.verdicts:
            own = ours.get((run.server, verdict.check, verdict.revision))
            if run.peer == OURS or verdict.outcome != "passed" or (own is not None and own.outcome == "passed"):
                continue
            why = "was not run" if own is None else f"{own.outcome}: {own.came}"
            peers = better.setdefault((verdict.check, why, run.column), [])
            peers.append(f"{verdict.revision} before {run.server}")
    if not better:
        return "Nowhere in these checks: each one that another passes, before whatever server, trioproxy passes, too."
    rows = "\n".join(
        f"- `{check}`: {column} passes it ({', '.join(where)}); {OURS}: {_code(why)}"
        for (check, why, column), where in sorted(better.items())
    )
    return f"{_BETTER}\n\n{rows}"
