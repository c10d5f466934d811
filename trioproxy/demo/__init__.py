"""The built-in demo: a small MCP server over stdio, to try a proxy with before there is a server to put behind it.

    python -m trioproxy.demo

It speaks every revision and both eras, in one process, deciding request by request.  It offers one specimen of each
thing that a proxy must carry: quick calls and slow ones, progress, logs, cancellation, lists that change, a resource to
subscribe to, and tools that ask the client something back.  Read it in this order:

    calls       one request on its way to an answer; the one place where the eras differ in kind
    offers      the tools, resources and prompt
    methods     what a client may call in either era, and what it is told of changes
    server      messages in, messages out; calls in flight; no pipe, no clock
    __main__    the pipes and the clock

It takes nothing but the standard library, and little of that: a proxy starts one such process per session, so that its
first answer should come in the time it takes Python to start.  That is why `typing` is imported for type checkers only,
and why no class here is a dataclass.
"""
