"""Records to numbers and words: data frames, explanations."""
