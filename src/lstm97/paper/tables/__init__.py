"""What the paper says, as data: rows of its result tables, its methods, and readings of its text."""
