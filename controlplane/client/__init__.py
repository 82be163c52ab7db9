"""The Python client of the API: `Client` blocks, `AsyncClient` is awaited. docs/reference/python-client.md shows each call."""

from controlplane.client.client import AsyncClient, Client
from controlplane.client.credentials import IssuedCredential
from controlplane.client.errors import (
    AnswerUnreadableError,
    ApiError,
    ArgumentError,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    EventsMissedError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerFaultError,
    TurnfleetError,
    UnavailableError,
)
from controlplane.client.exchange import Retries

__all__ = [
    "AnswerUnreadableError",
    "ApiError",
    "ArgumentError",
    "AsyncClient",
    "AuthenticationError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "EventsMissedError",
    "InvalidError",
    "IssuedCredential",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitedError",
    "Retries",
    "ServerFaultError",
    "TurnfleetError",
    "UnavailableError",
]
