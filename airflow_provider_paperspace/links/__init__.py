"""Links: buttons from a task to the Paperspace console."""
