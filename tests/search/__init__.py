"""Tests of selection.search."""
