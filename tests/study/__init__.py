"""Tests of selection.study."""
