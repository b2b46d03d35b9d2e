"""The model factory: what makes, judges and publishes the networks the box runs."""
