"""`turnfleet-agent doctor`: what the agent finds on this host and what is wrong, without joining and without changing anything.

`look/` reads the host and the network, each with a deadline; `judge/` makes sentences of what was read, and is pure.
"""
