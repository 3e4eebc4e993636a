"""Tests of selection.report."""
