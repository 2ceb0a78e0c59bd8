"""What is done with whole images: find, make, load, save, name and remove them."""
