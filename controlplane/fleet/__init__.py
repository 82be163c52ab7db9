"""The pure core: what the fleet is and what follows from it. Time and draws are parameters; nothing here waits or reads."""
