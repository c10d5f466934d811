"""How we know that an MCP endpoint keeps the protocol, ours or anybody's: checks of our own, and the official suite.

It is run by hand or by a build, and is no part of what gets installed:

    python -m conformance check URL                 our checks, against whatever listens there
    python -m conformance check --sse URL           the same, for HTTP with SSE
    python -m conformance check --stdio -- COMMAND  the same, for a stdio server, with the proxy in front of it
    python -m conformance list                      each sentence that they stand for, and each that they can't
    python -m conformance official                  every official suite, through proxies of its own
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

The official suite, and the server that it is run against, in reading order:

    asking                how a server asks its client something, in either era
    everything_tools      the tools that the scenarios call
    everything_notices    those that say something unasked: logs, progress, changes
    everything_questions  those that ask, and a prompt and a resource that do, too
    everything_server     the stdio MCP server which offers them, to the clients of one era or of both
    npm                   Node and the packages of the suite, fetched once into a cache
    official              which scenarios of which release before which server, run one by one, and judged
    official_commands     the commands `official` and `node`
"""
