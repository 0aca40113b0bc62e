"""The program that trains: the one worker of PEFT Studio jobs, on any machine."""

__version__ = "0.1.0"
