"""Tests of selection.workflows."""
