"""Runs of several peers, kept as JSON that can be read back, and what was found out about them by hand."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .compare import Run
from .trial import Verdict

FORMATS: Final = ("markdown", "json")
EXPLAINED: Final = Path(__file__).with_name("explained.toml")


@dataclass(frozen=True)
class Report:
    """All that is known.

    Args:
      commands: the commands that produced it.
    """

    commands: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()

    def with_run(self, run: Run) -> Report:
        """The same with one more run, which replaces an earlier one of its kind."""
        key = (run.peer, run.server, run.transport)
        return Report(self.commands, (*(r for r in self.runs if (r.peer, r.server, r.transport) != key), run))


@dataclass(frozen=True)
class Explanation:
    """Why a peer does not pass a check, looked into by hand.

    Args:
      peers: those that it is about.
      check: the check's name.
      why: what the peer does, and what makes it wrong or excuses it.
    """

    peers: tuple[str, ...]
    check: str
    why: str


def explanations(path: Path = EXPLAINED) -> list[Explanation]:
    """Read the explanations.

    Raises:
      ValueError: the file isn't as it should be.
    """
    found = []
    for table in tomllib.loads(path.read_text(encoding="utf-8")).get("explained", []):
        if set(table) != {"peers", "check", "why"} or not table["why"].strip() or not table["peers"]:
            raise ValueError(f"{path}: an explanation has peers, a check and why, and this has not: {table}")
        found.append(Explanation(tuple(table["peers"]), table["check"], " ".join(table["why"].split())))
    return found


# --- JSON


def as_json(report: Report) -> str:
    """Everything, with the transcripts of what did not pass."""
    runs = [asdict(run) for run in report.runs]
    for run in runs:
        for verdict in run["verdicts"]:
            if verdict["outcome"] not in ("failed", "warning"):
                verdict["transcript"] = ()
    return json.dumps({"commands": report.commands, "runs": runs}, ensure_ascii=False, indent=1)


def read_json(text: str) -> Report:
    """Read back what `as_json` has written.

    Raises:
      ValueError: it is something else.
    """
    try:
        value = json.loads(text)
        return Report(tuple(value["commands"]), tuple(_read_run(run) for run in value["runs"]))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"these are no results of an earlier run: {error!r}") from error


def _read_run(run: Mapping[str, Any]) -> Run:
    verdicts = tuple(Verdict(**{**one, "transcript": tuple(one["transcript"])}) for one in run["verdicts"])
    lists = {name: tuple(run[name]) for name in ("spoken", "incidents")}
    unspoken = tuple((revision, why) for revision, why in run["unspoken"])
    return Run(**{**run, **lists, "verdicts": verdicts, "unspoken": unspoken})
