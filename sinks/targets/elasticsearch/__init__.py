"""The Elasticsearch index: external versions. The only importer of the elasticsearch client."""
