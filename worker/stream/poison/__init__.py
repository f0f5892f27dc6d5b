"""Poison: records that kill the process are named in a journal, judged alone after the restart, and condemned."""
