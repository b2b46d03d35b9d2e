"""Whether what a model gets, gives, and is told by people is still what it was made for.

`features` names what is watched, `kolmogorov` compares two samples, `watch` holds a day against
the reference, `account` says what was found: to the page, the command line, monitoring, and as
aggregates to whoever made the model.
"""
