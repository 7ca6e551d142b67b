"""What a notebook shows while it trains, and what a reader can touch there."""
