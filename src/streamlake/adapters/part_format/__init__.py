"""Part formats: newline-delimited JSON, plain or gzipped."""
