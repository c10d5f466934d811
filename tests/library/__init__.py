"""The library by example: each test is a small program, as somebody may write it who uses trioproxy.

    test_serving             a proxy, and what its configuration says
    test_who_may_come_in     ways in, and one of your own
    test_pages               CORS
    test_errors              what goes wrong, and how that is told
    test_transports          servers to talk to, and what can be done with any of them
    test_own_servers         functions of your own that a proxy calls
    test_names               no name of the package goes without an example

Real sockets, real servers, and the client of the `mcp` SDK.
"""
