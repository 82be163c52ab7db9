"""One path through the system per file, each read top to bottom: load, decide, save, answer."""
