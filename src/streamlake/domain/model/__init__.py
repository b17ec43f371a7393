"""Frozen values, checked when made."""
