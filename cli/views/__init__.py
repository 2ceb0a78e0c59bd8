"""From protobuf messages to plain values with docker's field names, for templates, tables and `inspect`. Pure."""
