"""Measurements. Each script writes one `results/NAME.json`; `python -m benchmarks.report` turns them into RESULTS.md."""
