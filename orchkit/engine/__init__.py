"""What runs: definitions checked and compiled to plans, and the engine that executes them."""
