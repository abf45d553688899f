"""Read foreign files in a child process with limited memory and time."""
