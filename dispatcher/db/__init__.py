"""Tables, migrations, partitions, and connections to them."""
