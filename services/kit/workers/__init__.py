"""Worker processes: heavy or hazardous work away from a daemon's event loop and its interpreter lock."""
