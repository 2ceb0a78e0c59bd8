"""What imaged keeps: blobs in an OCI image layout, and in SQLite what they mean."""
