"""Tests of selection.store."""
