"""The command line: words and environment in, a proxy that serves and an exit code out.

The first half decides and is pure: `read_command_line` makes a `Config` of words, by the table in `options`.  The
second half, `main`, does what was decided.

Exit codes: 0 an orderly end, 1 a failure while starting or running, 2 a mistake on the command line, and 130 (128 +
SIGINT, as a shell has it) for an interrupt before there was anything to end in order.
"""

from __future__ import annotations

import difflib
import os
import resource
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import __version__, logs
from .config import (
    AuthConfig,
    ChildConfig,
    Config,
    ConfigError,
    CorsOptions,
    EndpointConfig,
    LimitConfig,
    ListenConfig,
    LogConfig,
    TimeConfig,
)
from .options import OPTIONS, SPELLINGS, USAGE, VARIABLES, Option, render_help
from .protocol.errors import TrioproxyError
from .values import QUESTION

DEMO = (sys.executable, "-m", "trioproxy.demo")

_FILES = 65536
_SECTIONS: Mapping[str, Callable[..., Any]] = {
    "child": ChildConfig,
    "listen": ListenConfig,
    "endpoints": EndpointConfig,
    "times": TimeConfig,
    "limits": LimitConfig,
    "auth": AuthConfig,
    "cors": CorsOptions,
    "log": LogConfig,
}


@dataclass(frozen=True)
class Given:
    """One value of one option, still as it was written, and under which spelling."""

    option: Option
    spelling: str
    negates: bool
    text: str

    def read(self) -> Any:
        try:
            value = self.option.kind.read(self.text)
        except ValueError:
            came = self.spelling if self.option.kind.is_secret else f"{self.spelling} {self.text!r}"
            raise ConfigError(f"{came}: expected {self.option.kind.expected}") from None
        return not value if self.negates else value


def read_command_line(argv: Sequence[str], environ: Mapping[str, str]) -> Config | str:
    """Return what is to be served, or the text that was asked for instead (`--help`, `--version`).

    Raises:
      ConfigError: a mistake of the user's; the message names the option, what came and what was expected.
    """
    words, command = read_words(argv)
    asked = {given.option.name for given in words if given.option.kind is QUESTION and given.read()}
    if "help" in asked:
        return render_help()
    if "version" in asked:
        return f"trioproxy {__version__}\n"
    # An option on the command line replaces all that the environment says about it, and what is replaced is never read:
    # Kubernetes sets MCP_PROXY_PORT=tcp://... beside a service called mcp-proxy, and --port is the way out.
    return configure(_by_option(read_environment(environ)) | _by_option(words), command)


def read_words(argv: Sequence[str]) -> tuple[list[Given], tuple[str, ...]]:
    """Return the options at the start of `argv`, and the command that follows them."""
    rest = list(argv)
    found = []
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        spelling, equals, text = word.partition("=")
        if spelling not in SPELLINGS:
            raise ConfigError(f"{spelling}: no such option{_suggestion(spelling)}")
        option, negates = SPELLINGS[spelling]
        if not option.takes_value:
            text = text if equals or option.kind is QUESTION else "on"
        elif not equals:
            # A value may start with one dash, so that `--port -1` is told what a port is.
            if not rest or rest[0].startswith("--"):
                came = "nothing" if not rest else "an option" if option.kind.is_secret else repr(rest[0])
                raise ConfigError(f"{spelling}: expected {option.kind.expected}; {came} came instead of a value")
            text = rest.pop(0)
        found.append(Given(option, spelling, negates, text))
    return found, tuple(rest)


def read_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    """Yield what the variables in `environ` say, blanks around a value not counted.

    An empty variable says nothing: that is how a compose file unsets one.
    """
    for name, (option, negates) in VARIABLES.items():
        text = environ.get(name, "")
        for piece in text.split(option.separator) if option.separator else [text]:
            if piece.strip():
                yield Given(option, name, negates, piece.strip())


def configure(given: dict[str, list[Given]], command: tuple[str, ...]) -> Config:
    """Return what `given`, the defaults and `command` amount to."""
    values = {name: _value(many) for name, many in (_by_option(_defaults()) | given).items()}

    sections: dict[str, dict[str, Any]] = {section: {} for section in ("", *_SECTIONS)}
    for option in OPTIONS.values():
        section, _, field = option.sets.rpartition(".")
        if field and option.name in values:
            sections[section][field] = values[option.name]
    sections[""]["shows_example"] = values["demo"]
    sections["child"]["argv"] = choose_command(command, demo=values["demo"], shell=values["shell"])

    if "endpoint" in values:
        if len(values["server"]) != 1:
            raise ConfigError("--endpoint is the path of one transport, and both are served: add --server sse or stream")
        (transport,) = values["server"]
        if f"{transport}-endpoint" in given:
            raise ConfigError(f"--endpoint and --{transport}-endpoint are the same path here: give one of them")
        sections["endpoints"][f"{transport}_endpoint"] = values["endpoint"]

    concerns = {section: make(**sections[section]) for section, make in _SECTIONS.items()}
    if not values["cors"]:
        if sections["cors"]:
            raise ConfigError("--no-cors and --cors-origin, or what goes with it, contradict each other: give one of them")
        concerns["cors"] = None
    return Config(**concerns, **sections[""])


def choose_command(words: tuple[str, ...], *, demo: bool, shell: bool) -> tuple[str, ...]:
    """Return the argv of the child: `words` untouched, or the demo's; for a shell, all in one word."""
    if demo and words:
        raise ConfigError(f"--demo serves the built-in demo server, but a command came as well: {shlex.join(words)}")
    if words and words[0].lower().startswith(("http://", "https://")):
        raise ConfigError(f"{words[0]} is a URL: serving a remote server on stdio is not part of this version")
    if demo:
        return (shlex.join(DEMO),) if shell else DEMO
    # Joined as Node's `spawn(..., {shell: true})` does it, so that what works with npm's mcp-proxy works here.
    return (" ".join(words),) if shell and words else words


def _by_option(source: Iterable[Given]) -> dict[str, list[Given]]:
    grouped: dict[str, list[Given]] = {}
    for given in source:
        grouped.setdefault(given.option.name, []).append(given)
    return grouped


def _defaults() -> Iterator[Given]:
    for option in OPTIONS.values():
        if option.default is not None:
            yield Given(option, f"--{option.name}", False, option.default)


def _value(given: list[Given]) -> Any:
    """Return what was said about one option: all of it if it is repeatable, else the last word."""
    option = given[0].option
    values = [one.read() for one in given]
    return option.gather(values) if option.separator else values[-1]


def _suggestion(spelling: str) -> str:
    """Return `; did you mean …?`, or nothing where nothing is near."""
    near = difflib.get_close_matches(spelling, SPELLINGS, n=1)
    return f"; did you mean {near[0]}?" if near else "; --help lists them all"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line `argv` says (by default, this process's) and return the exit code."""
    _fill_standard_descriptors()
    status = 130
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
    except* KeyboardInterrupt:
        # From before `serve` took over the signals: nothing runs yet, and a traceback would tell nobody anything.
        pass
    return status


def _run(argv: Sequence[str]) -> int:
    if list(argv[:1]) == ["healthcheck"]:
        from . import healthcheck

        return healthcheck.main(argv[1:])
    try:
        wanted = read_command_line(argv, os.environ)
    except ConfigError as error:
        logs.write_to_stderr(f"{USAGE}trioproxy: error: {error}\n")
        return 2
    if isinstance(wanted, str):
        print(wanted, end="")  # noqa: T201
        return 0
    logs.set_up(wanted.log)
    # Only now: `--help` and a mistake need no event loop, and get their answer in a fraction of the time.
    from .server import serve

    return run_to_its_end(serve, wanted)


def run_to_its_end(serve: Callable[[Config], Awaitable[None]], config: Config) -> int:
    """Run `serve(config)` and return the exit code that its end amounts to, having said why if it is not 0.

    An error that trioproxy does not foresee is a defect in it, and comes out as it is, traceback and all.
    """
    import trio

    _raise_file_limit()
    status = 0
    try:
        trio.run(serve, config)
    except* TrioproxyError as group:
        status = 1
        for error in _leaves(group):
            logs.report_failure(error, config.log)
    return status


def _raise_file_limit() -> None:
    """Allow ourselves as many open files as we may have: each child takes four, and each client one.

    Most systems give a process 1024 and let it ask for more.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _fill_standard_descriptors() -> None:
    """Open /dev/null in place of each of stdin, stdout and stderr that we were started without.

    Otherwise the next socket or pipe would get the number 2, and log lines would go to some client or child.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
