"""The tar format, read and written: ustar, pax and GNU's extensions; and files on disk as its entries."""
