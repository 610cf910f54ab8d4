"""The endpoints, one module each: parse the parameters, build the SQL, shape the result.

Read `endpoint` first.
"""
