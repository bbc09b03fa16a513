"""Notifiers: callbacks that tag a project."""
