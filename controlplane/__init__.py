"""turnfleet: a control plane for fleets of coturn relays. Importing this package loads nothing else."""

__version__ = "0.1.0"
