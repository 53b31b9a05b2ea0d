"""What a person reads at the end: a table on the terminal and one self-contained HTML page."""
