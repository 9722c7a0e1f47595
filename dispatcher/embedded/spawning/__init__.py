"""How child processes are started, and how they end with their parent."""
