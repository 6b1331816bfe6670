"""Models and data sets to start from: how each was made, how good it is, and the recipe to make it again."""
