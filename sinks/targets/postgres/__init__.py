"""The PostgreSQL replica: exactly once. The only importer of psycopg2."""

from sinks.targets.postgres.options import PostgresOptions
from sinks.targets.postgres.target import PostgresTarget, Step

__all__ = ["PostgresOptions", "PostgresTarget", "Step"]
