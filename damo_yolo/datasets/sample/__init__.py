"""A sample that every machine can render: sprites on photographs, annotated as three datasets."""
