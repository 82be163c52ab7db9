"""coturn, driven through what every version has: its configuration, its SQLite tables, its command line, its process."""
