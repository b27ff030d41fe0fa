"""View: what a process sees, as pure state.  Nothing here traces, and the host is only looked at."""
