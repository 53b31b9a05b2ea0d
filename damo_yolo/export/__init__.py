"""A trained detector in the forms that deploy, and the proof that they agree with it."""
