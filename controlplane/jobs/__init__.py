"""Scheduled work, run by the elected leader alone."""
