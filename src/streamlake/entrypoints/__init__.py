"""Thin runtimes. `container` is the only importer of adapters."""
