"""Arithmetic only: scalar rules and the loops that apply them to flat, contiguous arrays."""
