"""Recordings → errors, comparisons, plots and reports."""
