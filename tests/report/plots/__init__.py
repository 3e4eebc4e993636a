"""Tests of selection.report.plots."""
