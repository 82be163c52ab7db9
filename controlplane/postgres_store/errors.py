"""What a caller of this room has to expect."""

from __future__ import annotations


class DatabaseUnavailableError(Exception):
    """PostgreSQL did not answer in time, is starting or stopping, or a lock was not to be had."""


class ConflictError(Exception):
    """What was asked for is already there, or was taken by somebody else in the meantime."""
