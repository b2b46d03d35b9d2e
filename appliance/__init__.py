"""The Echocart box: receives echo loops, draws the heart, lets a person decide, delivers the result."""

__version__ = "0.1.0"
