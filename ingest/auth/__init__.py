"""Who may do what, and how much of it. Read `access` first."""
