"""What Paribus costs, measured side by side with what a good engineer writes by hand."""
