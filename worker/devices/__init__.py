"""A worker a device on one host: start, watch and restart them, and sum up how they are."""
