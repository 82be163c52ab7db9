"""The simulator itself: the model's moments, the same chance for everybody, nothing lost; and what it says of selection."""
