"""Kafka: the connection and its security, what a cluster says of itself, and what aiokafka cannot read."""
