"""LAN: a private network of programs, in one view or in several on the machine."""
