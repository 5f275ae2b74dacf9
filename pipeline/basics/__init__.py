"""What has nothing to do with video: files written whole, threads, processes, progress, digests, sizes."""
