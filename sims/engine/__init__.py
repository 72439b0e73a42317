"""What runs every sweep: blocks of work, the store, locks, hosts, precision and the command line."""
