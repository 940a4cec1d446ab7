"""What Azure demands of a disk before it takes it."""
