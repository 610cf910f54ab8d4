"""The query language: what a query string may say, and the SQL that it becomes."""
