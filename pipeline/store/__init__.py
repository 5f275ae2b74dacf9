"""What a run leaves behind: artifacts, their keys, the records of runs."""
