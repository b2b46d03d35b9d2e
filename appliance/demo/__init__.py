"""`echocart demo`: the whole way of one loop, as a cart, a sonographer and a USB stick would see it."""

from appliance.demo.run import Demo, sample_loop

__all__ = ["Demo", "sample_loop"]
