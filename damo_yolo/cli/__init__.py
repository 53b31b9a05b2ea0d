"""The command line: one door to the stages. It declares options, calls, and says what was made."""
