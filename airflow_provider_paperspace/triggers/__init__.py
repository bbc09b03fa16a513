"""Triggers: waiting for tags in the triggerer, without a worker."""
