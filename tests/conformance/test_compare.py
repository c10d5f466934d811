"""Peers side by side: what becomes of one that fails, crashes or hangs, and how the page tells it."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from conformance import compare_process
from conformance.__main__ import main
from conformance.checking import Limits
from conformance.compare import Run, run_peer
from conformance.compare_page import as_markdown
from conformance.compare_process import PeerFailed, find_port, open_process
from conformance.compare_report import EXPLAINED, Explanation, Report, as_json, explanations, read_json
from conformance.peers import OURS, PEERS, SERVERS, Installed, Peer
from conformance.trial import CHECKS, Level, Outcome, Verdict
from tests.serving import wait_until

PING = "ping.a-ping-is-answered-promptly-with-nothing"
ORIGIN = "security.a-foreign-origin-is-refused"
GUESS = "sessions.session-ids-are-unique"
SERVED = (sys.executable, "-m", "tests.conformance.wrong.served", "{port}")
BEFORE = Run("wrong", "1", "", "http", "wrong", "2026-11-21", "here")
QUICK = Limits(check=2.0, patience=0.2)


def wrong_peer(*words: str) -> Installed:
    return Installed(Peer("wrong", "Wrong", "1", "here", (), (*SERVED, *words), (*SERVED, *words), is_proxy=False))


def outcomes(run: Run) -> dict[str, Outcome]:
    return {verdict.check: verdict.outcome for verdict in run.verdicts}


# --- Runs


async def test_two_checks_against_our_own_proxy_in_front_of_the_demo_server() -> None:
    before = replace(BEFORE, peer=OURS, server="demo")
    ours = Installed(PEERS[OURS])

    done = await run_peer(before, ours, SERVERS["demo"][1], revisions=["2025-11-25"], only=["ping.*", ORIGIN])

    assert outcomes(done) == {PING: "passed", ORIGIN: "passed"}
    assert (done.spoken, done.unspoken, done.incidents, done.broken_off) == (("2025-11-25",), (), (), "")


async def test_a_wrong_server_fails_its_own_check_and_passes_another() -> None:
    done = await run_peer(BEFORE, wrong_peer(ORIGIN), (), revisions=["2025-06-18"], only=["ping.*", ORIGIN])

    assert outcomes(done) == {PING: "passed", ORIGIN: "failed"}
    assert done.incidents == ()


async def test_the_old_transport_has_a_process_of_its_own_and_one_revision() -> None:
    done = await run_peer(replace(BEFORE, transport="sse"), wrong_peer(), (), only=["ping.*"])

    assert done.spoken == ("2024-11-05",)
    assert outcomes(done) == {PING: "passed"}


async def test_a_peer_that_crashes_is_started_anew_and_the_check_has_failed_when_it_crashes_again() -> None:
    done = await run_peer(BEFORE, wrong_peer("crash"), (), revisions=["2025-11-25"], only=["ping.*", ORIGIN], limits=QUICK)

    assert outcomes(done) == {PING: "failed", ORIGIN: "passed"}
    assert done.incidents == (f"2025-11-25 {PING}: the peer exited with 3; said pinged to death",)
    assert done.verdicts[0].came.endswith("twice the peer exited with 3; said pinged to death")
    assert done.broken_off == ""


async def test_a_peer_that_hangs_is_started_anew_and_the_check_has_failed_when_it_hangs_again() -> None:
    done = await run_peer(BEFORE, wrong_peer("hang"), (), revisions=["2025-11-25"], only=["ping.*", ORIGIN], limits=QUICK)

    assert outcomes(done) == {PING: "failed", ORIGIN: "passed"}
    assert done.incidents == (f"2025-11-25 {PING}: the peer serves no other client: no answer within 2 s",)
    assert done.verdicts[0].came.endswith("twice the peer serves no other client: no answer within 2 s")


async def test_a_peer_that_does_not_start_is_a_run_without_verdicts_that_says_why() -> None:
    words = (sys.executable, "-c", "import sys; sys.exit('no such option: {port}')")

    done = await run_peer(BEFORE, Installed(Peer("wrong", "Wrong", "1", "here", (), words)), ())

    assert done.verdicts == ()
    assert "exited with 1; said no such option" in done.broken_off


async def test_a_peer_that_cannot_be_run_at_all_says_so() -> None:
    done = await run_peer(BEFORE, Installed(Peer("wrong", "Wrong", "1", "here", (), ("/nowhere/peer",))), ())

    assert done.broken_off.startswith("/nowhere/peer can't be run: ")


async def test_a_revision_that_is_not_spoken_is_told_with_what_came() -> None:
    words = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}")

    done = await run_peer(BEFORE, Installed(Peer("wrong", "Wrong", "1", "here", (), words)), (), revisions=["2025-11-25"])

    assert (done.spoken, done.verdicts) == ((), ())
    assert [revision for revision, _ in done.unspoken] == ["2025-11-25"]
    assert "expected a result for initialize" in done.unspoken[0][1]


# --- Processes


STUBBORN = """
import signal, socket, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
apart = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, start_new_session=True)
apart.stdout.readline()
print(apart.pid, flush=True)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="who descends from whom is read in /proc")
async def test_what_a_peer_has_started_elsewhere_and_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_process, "STOP_TIME", 0.3)
    port = find_port()

    async with open_process([sys.executable, "-c", STUBBORN, str(port)], port) as process:
        await wait_until(lambda: "said" in process.last_words())
        apart = int(process.last_words().rpartition("said ")[2])
        os.kill(apart, 0)

    # It is no child of ours: whoever inherits it collects its exit status.
    await wait_until(lambda: not is_running(apart))


async def test_a_peer_that_never_listens_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_process, "START_TIME", 0.3)
    port = find_port()

    with pytest.RaisesGroup(pytest.RaisesExc(PeerFailed, match=r"nobody listens on port \d+; .* is still running")):
        async with open_process([sys.executable, "-c", "import time; time.sleep(600)"], port):
            pytest.fail("there is nothing to talk to")


async def test_who_is_cancelled_while_a_peer_runs_leaves_no_peer() -> None:
    port = find_port()
    with trio.CancelScope() as scope:
        async with open_process([word.format(port=port) for word in SERVED], port) as process:
            scope.cancel()
            await trio.sleep_forever()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


# --- The page


def verdict(check: str, outcome: Outcome, level: Level = "MUST", revision: str = "2025-11-25", came: str = "") -> Verdict:
    expected = "403" if outcome in ("failed", "warning") else ""
    return Verdict(check, revision, level, outcome, 0.5, expected, came)


OURS_RUN = Run(
    *(OURS, "1.0", "demo", "http", "python -m trioproxy --port 8080 -- SERVER", "2026-11-21", "Linux"),
    spoken=("2025-11-25", "2025-06-18"),
    verdicts=(
        verdict(PING, "passed"),
        verdict(ORIGIN, "passed"),
        verdict(GUESS, "skipped", came="no sessions here"),
        verdict(PING, "passed", revision="2025-06-18"),
    ),
)
THEIR_RUN = Run(
    *("supergateway", "4.0.0", "demo", "http", "node supergateway", "2026-11-22", "Linux"),
    spoken=("2025-11-25",),
    unspoken=(("2025-06-18", "it agrees to 2025-11-25"),),
    verdicts=(verdict(PING, "passed"), verdict(ORIGIN, "failed", came="200 | `x`"), verdict(GUESS, "passed")),
    incidents=(f"2025-11-25 {PING}: the peer exited with 1",),
)
REPORT = Report(("python -m conformance compare --output x.md",), (THEIR_RUN, OURS_RUN))
PAGE = """\
# The same checks, other proxies

Made on 2026-11-21 to 2026-11-22 (Linux) by

    python -m conformance compare

and not edited by hand.

Each peer is started as its own documentation says, with nothing set that need not be, in front of the same servers,
and gets the same checks in each revision that it speaks.  What a check sees, and which sentences it stands for, is
said by `python -m conformance list` and in `conformance/checks`.

In the tables **no** is a MUST that is broken and *no* a SHOULD; with revisions behind it, it is so in these only.  A
dash is a check that does not apply: the server has no tool for it, or the peer lacks what it is about.  An empty cell
was not run, since the revision isn't spoken.

| peer | | started with |
|---|---|---|
| trioproxy 1.0 | Streamable HTTP | `python -m trioproxy --port 8080 -- SERVER` |
| supergateway 4.0.0 | Streamable HTTP | `node supergateway` |

## In short

MUSTs that hold / that are broken, in so many revisions; each counts in every revision in which it was run.

|  | demo server |
|---|---|
| trioproxy 1.0 | 3 / 0 in 2 |
| supergateway 4.0.0 | 2 / 1 in 1 |

## In front of the demo server

Passed / not passed / not applicable:

|  |  | trioproxy 1.0 | supergateway 4.0.0 |
|---|---|---|---|
| 2025-06-18 | MUST | 1 / 0 / 0 | not spoken |
| 2025-11-25 | MUST | 2 / 0 / 1 | 2 / 1 / 0 |

|  | trioproxy 1.0 | supergateway 4.0.0 |
|---|---|---|
| **basic/utilities/ping, MUST** |  |  |
| `ping.a-ping-is-answered-promptly-with-nothing` | yes | yes |
| **basic/transports, MUST** |  |  |
| `security.a-foreign-origin-is-refused` | yes | **no** |
| **tutorials/security/security_best_practices, MUST** |  |  |
| `sessions.session-ids-are-unique` | - | yes |

- supergateway 4.0.0, 2025-06-18: not spoken.  `it agrees to 2025-11-25`
- supergateway 4.0.0: had to be started anew after `2025-11-25 ping.a-ping-is-answered-promptly-with-nothing: the peer \
exited with 1`

## Where others are better

What another passes and trioproxy does not.  Skipped is what does not apply to it, for the reason given.

- `sessions.session-ids-are-unique`: supergateway 4.0.0 passes it (2025-11-25 before demo); trioproxy: \
`skipped: no sessions here`

## What came instead

For each proxy what it did in place of what was expected.

### supergateway 4.0.0

- MUST `security.a-foreign-origin-is-refused` (2025-11-25; before demo): expected 403; came `200 ¦ 'x'`
  - Looked into.
"""


def test_the_page_has_every_peer_beside_the_others() -> None:
    explained = [Explanation(("supergateway",), ORIGIN, "Looked into."), Explanation((OURS,), PING, "Never shown.")]

    assert as_markdown(REPORT, explained) == PAGE


def test_without_a_check_that_another_passes_alone_nobody_is_better() -> None:
    alone = as_markdown(Report((), (OURS_RUN,)), [])
    elsewhere = as_markdown(Report((), (OURS_RUN, replace(THEIR_RUN, server="legacy"))), [])

    assert "Nowhere in these checks" not in PAGE
    assert "Nowhere in these checks" in alone
    assert "Nowhere in these checks" in elsewhere


def test_a_page_without_our_own_proxy_does_not_say_who_is_better() -> None:
    assert "trioproxy is not among those compared" in as_markdown(Report((), (THEIR_RUN,)), [])


def test_what_differs_by_revision_is_said_with_the_revisions_and_a_should_is_less_than_a_must() -> None:
    mixed = (
        verdict(PING, "failed"),
        verdict(PING, "passed", revision="2025-06-18"),
        verdict(ORIGIN, "warning", "SHOULD", revision="2025-06-18"),
        verdict(ORIGIN, "skipped", revision="2025-03-26"),
    )
    page = as_markdown(Report((), (replace(OURS_RUN, verdicts=mixed),)), [])

    assert f"| `{PING}` | **no** (2025-11-25) |" in page
    assert f"| `{ORIGIN}` | *no* |" in page


def test_the_servers_of_the_sdks_are_told_with_the_sentence_that_they_break() -> None:
    red = replace(THEIR_RUN, peer="python-sdk", server="", verdicts=(verdict(ORIGIN, "failed", came="200"),))

    page = as_markdown(Report((), (red,)), [Explanation(("python-sdk",), ORIGIN, "The SDK is at fault.")])

    told = page.partition("### Python SDK")[2]
    assert f"- MUST `{ORIGIN}` (2025-11-25): expected 403; came `200`\n  - MUST, 2025-11-25, basic/transports" in told
    assert "  - The SDK is at fault." in told


def test_results_can_be_written_as_json_and_read_back() -> None:
    report = Report(("a", "b"), (OURS_RUN, replace(THEIR_RUN, broken_off="it ended")))

    assert read_json(as_json(report)) == report


@pytest.mark.parametrize("text", ["[]", "{}", '{"commands": [], "runs": [{}]}', "no JSON"])
def test_what_is_no_result_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="no results of an earlier run"):
        read_json(text)


def test_a_run_takes_the_place_of_an_earlier_one_of_its_kind() -> None:
    again = replace(THEIR_RUN, date="2026-12-01")

    assert REPORT.with_run(again).runs == (OURS_RUN, again)


def test_every_explanation_is_of_a_check_and_of_peers_that_there_are() -> None:
    for one in explanations():
        assert one.check in CHECKS, one
        assert set(one.peers) <= set(PEERS), one
    assert len({(peer, one.check) for one in explanations() for peer in one.peers}) == sum(
        len(one.peers) for one in explanations()
    )


@pytest.mark.parametrize(
    "text", ['peers = ["x"]\ncheck = "y"', 'peers = ["x"]\ncheck = "y"\nwhy = " "', "check = 'y'\nwhy = 'z'"]
)
def test_an_explanation_needs_peers_a_check_and_words(text: str, tmp_path: Path) -> None:
    listed = tmp_path / EXPLAINED.name
    listed.write_text(f"[[explained]]\n{text}\n")

    with pytest.raises(ValueError, match="peers, a check and why"):
        explanations(listed)


# --- The command


def test_earlier_results_are_printed_anew_without_running_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, page = tmp_path / "earlier.json", tmp_path / "page.md"
    earlier.write_text(as_json(REPORT))

    status = main(["compare", "--nothing-new", "--earlier", str(earlier), "--output", str(page)])

    assert (status, capsys.readouterr().out) == (0, "")
    assert page.read_text() == as_markdown(REPORT, explanations())
    assert list(tmp_path.iterdir()) == [earlier, page] or list(tmp_path.iterdir()) == [page, earlier]


def test_of_earlier_results_the_later_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("first.json", "second.json")]
    for file, date in zip(files, ("2026-11-01", "2026-11-02"), strict=True):
        made = f"python -m conformance compare --peer {OURS} --server demo --timeout 5"
        file.write_text(as_json(Report((made,), (replace(OURS_RUN, date=date),))))

    assert main(["compare", "--nothing-new", *(word for file in files for word in ("--earlier", str(file)))]) == 0

    page = capsys.readouterr().out
    assert "Made on 2026-11-02 (Linux) by\n\n    python -m conformance compare --timeout 5\n\nin parts, " in page
    assert page.count("| trioproxy 1.0 | Streamable HTTP |") == 1


@pytest.mark.parametrize(
    "words", [["--nothing-new"], ["--nothing-new", "--earlier", "/nowhere"], ["--earlier", __file__]], ids=str
)
def test_results_that_cannot_be_read_are_a_bad_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *words]) == 2
    assert capsys.readouterr().err


def test_a_comparison_writes_its_page_and_says_on_stderr_what_became_of_each(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    words = ["--peer", OURS, "--server", "demo", "--revision", "2025-11-25", "--only", "ping.*", "--output", str(page)]

    assert main(["compare", *words]) == 0

    assert capfd.readouterr().err == "trioproxy over http before demo: 1 passed, 0 failed, 0 warning\n"
    assert f"| `{PING}` | yes |" in page.read_text()


def test_a_peer_that_cannot_be_run_makes_the_command_fail(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PEERS, OURS, replace(PEERS[OURS], http=("/nowhere/peer",), sse=()))

    assert main(["compare", "--peer", OURS, "--server", "demo", "--only", "ping.*"]) == 1

    printed = capfd.readouterr()
    assert "could not be run, or not to the end: trioproxy" in printed.err
    assert "| does not start |" in printed.out or "/nowhere/peer can't be run" in printed.out
