"""Reproduces the table of the default voice's figures."""
