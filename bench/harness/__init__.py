"""Services to measure, Locust runs, and reports."""
