"""The PostgreSQL replica: exactly once. The only importer of psycopg2."""
