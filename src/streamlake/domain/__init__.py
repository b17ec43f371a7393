"""The pure domain: no I/O, no clock, no ids, no threads, no logging. Imports nothing outside itself but pydantic."""
