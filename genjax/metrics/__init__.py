"""Measures of what a model gives: pure functions of arrays; import from the modules."""
