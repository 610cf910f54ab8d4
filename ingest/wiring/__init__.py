"""From settings to objects. Together with `ingest.app` the only code that knows every part."""
