"""A streaming moderation worker: chat events from Kafka, judged by Llama Guard 4 and Prompt Guard 2, to verdicts."""

__version__ = "0.1.0"
