"""Measurements of the kit itself: nothing here is imported by training, and no test asserts on a time."""
