"""The command line: for people and scripts, over the public API alone. docs/reference/cli.md explains each command."""
