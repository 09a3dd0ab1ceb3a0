"""Find what is wrong with annotations and images before training does."""
