"""Links: buttons that lead from a task to the Paperspace console."""
