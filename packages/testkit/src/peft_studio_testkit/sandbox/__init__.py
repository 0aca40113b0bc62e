"""Fake platforms: what a connector is tested against, and what anybody can try without an account."""
