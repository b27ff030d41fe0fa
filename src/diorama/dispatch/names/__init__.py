"""The names and limits of a system, as a view tells them."""
