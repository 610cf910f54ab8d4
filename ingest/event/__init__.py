"""The definition of an event (`definition`), and its forms in Arrow."""
