"""Every committed MySQL change, in order and once, in PostgreSQL and Elasticsearch."""
