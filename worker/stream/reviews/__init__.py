"""Reviewers' decisions, read back for agreement with the verdicts."""
