"""Questions to an index: are two tiles of one category, and what else looks like this one."""
