"""Films: a demo of Nearhand. The engine and the state know nothing of the toolkit that draws them."""
