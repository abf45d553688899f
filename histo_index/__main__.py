"""`python -m histo_index` is the command `histo-index`."""

from histo_index.cli import main

main()
