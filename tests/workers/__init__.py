"""Tests of selection.workers."""
