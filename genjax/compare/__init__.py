"""The comparison runner: one table of many models, on the same data, by the same measures."""
