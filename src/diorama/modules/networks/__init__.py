"""Networks: kinds of network stacks, and the special file that stands for one."""
