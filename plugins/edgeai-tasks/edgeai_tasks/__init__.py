"""Tasks for edgeai, one module and one entry point each."""
