"""Dispatch: request, who answers, outcome."""
