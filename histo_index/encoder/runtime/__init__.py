"""The network on a device: the float32 reference and the fast runtimes."""
