"""The library by example: each test is a small program, as somebody may write it who uses trioproxy.

    test_serving             a proxy, and what its configuration says
    test_who_may_come_in     ways in, and one of your own
    test_pages               CORS
    test_errors              what goes wrong, and how that is told
    test_transports          servers to talk to, and what can be done with any of them
    test_own_servers         servers that a function of your own makes: for each user another, in process, or from nothing
    test_hooks               other functions of your own that a proxy calls
    test_many_servers        several servers behind one port, and several clients before one server
    test_event_stores        where events are kept
    test_bridges             the other way round: stdio servers made of remote ones
    test_tunnels             a public URL
    test_readme_examples     the programs in README
    test_names               no name of the package goes without an example

Real sockets, real servers, and the client of the `mcp` SDK.
"""
