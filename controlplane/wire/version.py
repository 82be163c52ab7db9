"""The version of the agent protocol, with the meaning of every number it ever had.

A field is only ever added, with a default that says what its absence means; a field never changes its meaning. Unknown
fields are ignored by both sides, so an agent and a control plane one version apart always understand each other.

| version | date | what came |
|---|---|---|
| 1 | 2026-11-22 | join, heartbeat, usage, found, leave |
| 1 | 2026-11-22 | join, heartbeat (with `coturn_generation`: coturn is to start anew, and did), usage, leave |
"""

PROTOCOL_VERSION = 1
