"""Tracking: a job's event log at trackers, whole, once and in order, whenever they can be reached."""
