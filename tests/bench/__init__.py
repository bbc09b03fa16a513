"""``make bench``: each figure as a ratio to a bare loop that is measured in the same run, on the same machine."""
