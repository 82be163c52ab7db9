"""Who relays how much through this coturn, learnt from its log and command line; kept on disk; told; and ended where it must be."""
