"""What the modality guard learns from: pictures, phantoms, distortions, and how they are mixed."""
