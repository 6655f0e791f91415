"""Kafka: lanes that read commands and publish answers exactly once."""
