"""Import encoders: read foreign files in a limited child process, measure, write the folder."""
