"""What `ConnectorManager` is made of: connections, submission, and the calls of each capability."""
