"""The contract: what crosses a socket between control plane, agents and clients. Imports no other room."""
