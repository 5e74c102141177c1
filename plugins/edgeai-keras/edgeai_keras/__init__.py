"""What edgeai's build host does with Keras models. Importing this imports no Keras."""
