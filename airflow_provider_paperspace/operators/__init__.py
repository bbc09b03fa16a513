"""Operators for Paperspace projects and their tags."""
