"""What it means: facts in, findings out. Pure."""
