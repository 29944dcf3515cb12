"""What surrounds the inner loop: its other builds, its memory, who calls it. Nothing here is for others."""
