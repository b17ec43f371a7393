"""Clocks: the system's, and one that is set by hand."""
