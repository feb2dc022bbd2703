"""Measures the program from outside, as a process among processes."""
