"""Live state in Redis: what every node last reported. All of it can be rebuilt from the next heartbeats."""
