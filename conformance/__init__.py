"""How we know that the proxy is what it claims: the official conformance suite, run against it.

It is run by hand or by a build, and is no part of what gets installed:

    python -m conformance official                  the whole suite, through a proxy of its own
    python -m conformance official --url URL        the same, against whatever listens there

In reading order:

    everything_tools    the tools that the scenarios call
    everything_server   the stdio MCP server which offers them
    npm                 Node and the packages of the suite, fetched once into a cache
    official            which scenarios of which release, run one by one, and judged
    __main__            the commands
"""
