"""Take tiles out of an index, undo it, free their space, erase them."""
