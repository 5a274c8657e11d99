"""The networks, under the tensor names of the files that the engine loads."""
