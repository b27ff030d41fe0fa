"""Identity: who the tasks of a view are, where that is not who they are on the host."""
