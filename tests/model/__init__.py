"""Tests of selection.model."""
