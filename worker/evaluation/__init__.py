"""Measured quality: labelled examples, what the guards say of them, and the figures and thresholds that follow."""
