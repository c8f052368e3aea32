"""The Elasticsearch target: the only package that imports Elasticsearch's client."""

from sinks.targets.elasticsearch.options import ElasticsearchOptions
from sinks.targets.elasticsearch.target import ElasticsearchTarget

__all__ = ["ElasticsearchOptions", "ElasticsearchTarget"]
