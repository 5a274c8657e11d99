"""Trains the default voice: a streaming content encoder and a small RVC voice, from ingredients that may be redistributed."""
