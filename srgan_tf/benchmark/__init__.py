"""Measures what this machine can do, and what this package and its peers make of it."""
