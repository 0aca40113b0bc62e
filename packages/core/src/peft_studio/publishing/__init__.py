"""What becomes of an adapter after the training: it goes to registries, now or when they can be reached."""
