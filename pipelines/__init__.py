"""Orchestration: Dagster assets, the command line, the ledger and the reports. No science lives here."""
