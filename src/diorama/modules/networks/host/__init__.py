"""Host: the network of the kernel's, as it is or under a policy."""
