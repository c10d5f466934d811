"""Each era of clients, over each transport, meets each era of servers: what crosses, and what is refused and why."""
