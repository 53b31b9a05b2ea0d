"""What a teacher's features ask of a student's."""
