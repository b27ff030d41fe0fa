"""Clock: calls that tell the time, set it, or wait for it, in a view with a clock of its own."""
