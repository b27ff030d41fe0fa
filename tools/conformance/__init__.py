"""Conformance: test suites that others wrote, run natively and in views, and compared."""
