"""A whole turnfleet on one machine, as private child processes on loopback.

`deploy/dev` hands over to this package; the tests start the same parts with it. It is never shipped in the wheel.
"""
