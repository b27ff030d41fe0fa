"""Testing: fakes for tests of modules, handlers and views."""
