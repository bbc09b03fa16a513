"""Sensors: tasks that wait for a tag."""
