"""The query language: parsing of query strings, and the SQL of their parts."""
