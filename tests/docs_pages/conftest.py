"""The project of a user has tests of its own, which run in a process of their own."""

collect_ignore = ["user_project"]
