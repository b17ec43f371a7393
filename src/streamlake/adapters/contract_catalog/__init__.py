"""Contract catalogs: a folder of ODCS files."""
