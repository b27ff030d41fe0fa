"""Behaviour: real programs, run natively and in a view, must do the same."""
