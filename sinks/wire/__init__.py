"""Wire formats: from the bytes of Kafka records to columns."""
