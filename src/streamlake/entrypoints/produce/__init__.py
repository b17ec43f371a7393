"""`streamlake produce`: lines of a file as events, straight to the log or over HTTP, resumable.

    file -> Batch (lines, where it begins and ends) -> sender -> BatchResult -> rejects file -> checkpoint

A batch's number is part of its idempotency key, and the batch is repeated whole: so its events have the same
ingestion ids, whoever sends it again.
"""
