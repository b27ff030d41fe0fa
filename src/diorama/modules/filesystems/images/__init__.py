"""Images: file systems inside of a file, as on a disk."""
