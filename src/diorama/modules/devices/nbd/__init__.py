"""NBD: disks that another program has, and network block devices."""
