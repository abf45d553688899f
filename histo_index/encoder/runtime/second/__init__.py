"""The second network of an encoder: small, it predicts the feature maps of a teacher."""
