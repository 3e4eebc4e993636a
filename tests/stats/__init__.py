"""Tests of selection.stats."""
