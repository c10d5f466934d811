"""The commands: `python -m conformance COMMAND`."""

from __future__ import annotations

import argparse
import sys

from . import check_commands, compare_commands


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 if nothing failed unexpectedly, else 1; 2 for a bad command line."""
    words = sys.argv[1:] if words is None else words
    # A command that is to be checked has options of its own.
    options, command = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(prog="python -m conformance", description="Measure MCP endpoints against the protocol.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check_commands.add_commands(commands)
    compare_commands.add_commands(commands)
    if options[:1] not in (["check"], ["compare"], ["list"]):
        # The official suite is run against a server on the SDK, which takes its time to load and need not be installed.
        from . import official_commands

        official_commands.add_commands(commands)
    arguments = parser.parse_args(options)
    arguments.command = command
    arguments.words = words
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
