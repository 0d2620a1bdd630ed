"""What is trained on: labels, recordings, splits and the checks of them."""
