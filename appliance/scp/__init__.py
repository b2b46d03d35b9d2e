"""The receiver: takes what echo machines send, and keeps it before it says so (PS3.4 Annex B)."""
