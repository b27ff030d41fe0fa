"""Network: socket calls of tasks that have a network of their own (`diorama.view.stacks`)."""
