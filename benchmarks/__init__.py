"""Side-by-side runs against peers and truth. Each module is a command: ``python -m benchmarks.NAME``."""
