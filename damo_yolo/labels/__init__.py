"""Label spaces, and the tables that lead a dataset's classes into one."""
