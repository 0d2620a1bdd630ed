"""What the larger verbs do, imported when they are called."""
