"""The replica's own record of every issue on local disk, and its shipping. An answer waits for its record to be on the disk."""
