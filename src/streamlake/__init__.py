"""StreamLake: Kafka-first ingestion with a lakehouse-style raw zone."""
