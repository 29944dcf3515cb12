"""The report on a rerun of the paper: its tables, words and pictures, and what is measured for it."""
