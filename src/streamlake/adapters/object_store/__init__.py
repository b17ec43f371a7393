"""Object stores: Google Cloud Storage, a folder, memory."""
