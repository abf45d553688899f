"""What `train --teacher` reads."""
