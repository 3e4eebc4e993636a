"""Tests of selection.cli."""
