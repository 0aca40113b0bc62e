"""The calls of `SyncConnectorManager`, by area."""
