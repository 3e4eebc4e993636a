"""Tests of selection.train."""
