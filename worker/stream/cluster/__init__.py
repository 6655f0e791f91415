"""The Kafka cluster: connections, topics, permissions, and requests that aiokafka does not know."""
