"""The stages of the chain as functions of domain objects: each fetches what one call of the libraries needs.

The Dagster assets and the command line call these; neither has logic of its own.
"""
