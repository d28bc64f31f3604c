"""What a person sees: events, status, tables, pictures, one HTML page."""
