"""The one definition of an event (`definition`), and its shapes in Arrow."""
