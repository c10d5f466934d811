"""Each era of hosts, on stdio, meets each era of servers at URLs, over each transport, with the bridge between them."""
