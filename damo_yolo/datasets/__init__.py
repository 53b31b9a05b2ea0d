"""From annotation files of any format to one stream of image records."""
