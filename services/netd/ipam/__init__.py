"""IPv4 address management as arithmetic: which subnet a network gets, which address an endpoint. Pure."""
