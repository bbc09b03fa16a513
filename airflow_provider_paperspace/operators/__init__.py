"""Operators: what a DAG does with project tags."""
