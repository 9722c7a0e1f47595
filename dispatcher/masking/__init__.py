"""What is hidden or escaped before it is shown."""
