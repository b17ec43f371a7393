"""The real landing core in a simulated world. `python -m tests.simulation --seeds 50000`."""
