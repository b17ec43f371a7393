"""Event logs: Kafka, one sqlite file, memory."""
