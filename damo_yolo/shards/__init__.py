"""Each image once in webdataset tars, and the order in which training reads them."""
