"""What happened in a picture of the playroom, judged against its ground truth."""
