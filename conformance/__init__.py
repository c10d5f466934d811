"""How we know that the proxy is what it claims: the official conformance suite, run against it.

It is run by hand or by a build, and is no part of what gets installed:

    python -m conformance official                  every suite, through proxies of its own
    python -m conformance official --url URL        the same, against whatever listens there

In reading order:

    asking                how a server asks its client something, in either era
    everything_tools      the tools that the scenarios call
    everything_notices    those that say something unasked: logs, progress, changes
    everything_questions  those that ask, and a prompt and a resource that do, too
    everything_server     the stdio MCP server which offers them, to the clients of one era or of both
    npm                   Node and the packages of the suite, fetched once into a cache
    official              which scenarios of which release before which server, run one by one, and judged
    __main__              the commands
"""
