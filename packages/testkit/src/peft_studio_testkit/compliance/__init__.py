"""The checks of the interface, by level, and what came of them."""
