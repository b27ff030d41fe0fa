"""Engine: stops, changes and resumes threads; knows nothing of what a call means.

`Stop` is the portable layer for anyone who writes a tracer; `Guardian` is the tracer thread that views
use; `Held` is a call while a handler decides about it.
"""
