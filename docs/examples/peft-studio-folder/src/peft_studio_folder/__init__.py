"""A shared folder as a registry of adapters."""
