"""Networks of other libraries: built, pooled, converted for the CPU, and checked."""
