"""``make bench``: figures as ratios to a bare loop measured in the same run, on the machine at hand."""
