"""Triggers: wait for tags in the triggerer, without a worker."""
