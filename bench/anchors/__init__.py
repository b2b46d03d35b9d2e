"""Other programs doing the same work, beside which ours is measured."""
