"""The documentation and the code agree, both ways."""
