"""Reference pages and documents that are generated from the code: settings, metrics, AsyncAPI."""
