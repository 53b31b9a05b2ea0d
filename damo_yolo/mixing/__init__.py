"""Many datasets as one: merged records, balance, the sample plan."""
