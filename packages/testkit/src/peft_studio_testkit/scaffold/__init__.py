"""Writes a new connector: a complete distribution that passes the checks from the first minute."""
