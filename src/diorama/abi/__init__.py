"""Linux facts: numbers, structures and constants, per architecture. It knows nothing of the rest of Diorama."""
