"""What versions of qemu-img are known to get wrong."""
