"""What can go wrong in the agent for good.

AgentError
├── SettingsError     a variable of the environment has a bad value
├── JoinRefusedError  the control plane does not want this agent
├── IdentityError     the node's identity on disk cannot be read
└── CoturnError       coturn cannot be driven as things stand

Each carries one whole sentence for the operator. What passes by itself (a network error, a silent coturn) is not here: it
is a return value, see `agents.link` and `agents.probe`.
"""

from __future__ import annotations


class AgentError(Exception):
    """The agent cannot go on."""


class SettingsError(AgentError):
    """A variable of the environment has a bad value."""


class JoinRefusedError(AgentError):
    """The control plane does not want this agent."""


class IdentityError(AgentError):
    """The node's identity on disk cannot be read."""


class CoturnError(AgentError):
    """coturn cannot be driven as things stand."""
