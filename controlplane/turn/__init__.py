"""TURN as a client does it: allocate, relay a packet, say in words what went wrong. For agent, control plane and command line."""
