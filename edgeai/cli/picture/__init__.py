"""The picture of one result: the image as a reader would see it, beside what the model says of it."""
