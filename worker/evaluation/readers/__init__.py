"""Readers of labelled data, one file a format; `data_set.py` chooses."""
