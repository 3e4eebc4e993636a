"""Trains a study by several workers, on this machine or on a cluster; one driver records."""
