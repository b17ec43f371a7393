"""How fast, how lean, and where the time goes: measured on a real Kafka and a GCS API, by no test."""
