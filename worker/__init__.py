"""Event-driven worker that answers create-passport commands from Kafka, exactly once."""

__version__ = "1.0.0"
