"""What StreamLake does, sans-IO towards time and commits: fed records and the time, it returns what to do."""
