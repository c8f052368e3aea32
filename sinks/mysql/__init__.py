"""The only importer of a MySQL driver."""
