"""``python -m pipelines.cli``: the same as ``igrt``."""

from .main import app

if __name__ == "__main__":
    app()
