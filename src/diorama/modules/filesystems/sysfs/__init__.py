"""Sysfs: the directories of /sys that tell of what a view has, in the place of the host's (sysfs(5))."""
