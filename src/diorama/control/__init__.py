"""Control: views that run, and how they are found and spoken to from outside and inside."""
