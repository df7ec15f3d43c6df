"""Inverse planning: objectives, optimiser, leaf sequencing and the planning chain."""
