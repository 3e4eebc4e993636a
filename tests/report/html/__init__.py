"""Tests of selection.report.html."""
