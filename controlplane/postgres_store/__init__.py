"""Durable state in PostgreSQL: tenants, tokens, regions, nodes, the record of every issue, events. All SQL is named, in sql/."""
