"""Tests of selection.serve."""
