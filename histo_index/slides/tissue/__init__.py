"""Find tissue on a slide: mask, pen, outlines, sharpness."""
