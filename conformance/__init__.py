"""How we know that an MCP endpoint keeps the protocol, ours or anybody's: checks of our own, and the official suite.

It is run by hand or by a build, and is no part of what gets installed:

    python -m conformance check URL                 our checks, against whatever listens there
    python -m conformance check --sse URL           the same, for HTTP with SSE
    python -m conformance check --stdio -- COMMAND  the same, for a stdio server, with the proxy in front of it
    python -m conformance list                      each sentence that they stand for, and each that they can't
    python -m conformance compare                   our checks against other proxies, too: RESULTS.md
    python -m conformance compare --sdks            the same against the servers of the official SDKs
    python -m conformance official                  every official suite, through proxies and bridges of its own
    python -m conformance official --url URL        the same, against whatever listens there

Our checks, which import nothing of the proxy's:

    events                bytes to server-sent events
    wire                  HTTP as it is on the wire, right or wrong
    conversation          a client of each revision
    survey                what an endpoint has that the checks can use
    catalogue             every sentence that obliges, with its checks or why it has none
    trial                 one check, run and judged
    checks                the checks, an area a module
    checking              all of them against one endpoint
    reports               verdicts and sentences, in several formats
    proxied               a stdio server behind `python -m trioproxy`
    check_commands        the commands `check` and `list`

Other proxies, with the same checks:

    peers                 how each is fetched and started, and the servers behind them
    sdk_servers           the official SDKs' own HTTP servers
    compare_process       a peer's process, and all that it has started
    compare               the checks against one peer, whatever becomes of it on the way
    compare_report        many runs together, as JSON, and what was found out by hand
    compare_page          many runs side by side, as a page
    compare_commands      the command `compare`

The official suite, and the server and the host that it is run against, in reading order:

    asking                how a server asks its client something, in either era
    everything_tools      the tools that the scenarios call
    everything_notices    those that say something unasked: logs, progress, changes
    everything_questions  those that ask, and a prompt and a resource that do, too
    everything_server     the stdio MCP server which offers them, to the clients of one era or of both
    bridge_host           the MCP client behind which the bridge is tested as a client
    bridge_browser        its user's browser, where it has to sign in
    npm                   Node and the packages of the suite, fetched once into a cache
    official_suites       which scenarios of which release, before which server or behind which host
    official_outcomes     what became of a scenario, and whether that was to be expected
    official              all scenarios of a suite, a process each
    official_commands     the commands `official` and `node`
"""
