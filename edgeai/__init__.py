"""edgeai: trained Keras models at work on medical imaging devices."""
