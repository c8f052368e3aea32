"""Helpers of docker-compose.yml and of its test."""
