"""My Platform for PEFT Studio."""
