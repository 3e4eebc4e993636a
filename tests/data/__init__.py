"""Tests of selection.data."""
