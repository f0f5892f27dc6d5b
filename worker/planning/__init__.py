"""How many pods a stream takes: what a batch costs, a simulation of one worker, and the plan that follows."""
