"""Linux facts: numbers, structures and constants, per architecture; they know nothing of Diorama."""
