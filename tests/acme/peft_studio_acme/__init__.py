"""A connector for a made-up platform, as small as one can be that uses the transport."""

__version__ = "0.1.0"
