"""One module for each endpoint: parse, build the SQL, shape the result. Read `endpoint` first."""
