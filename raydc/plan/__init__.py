"""What will be done, before anything is spent: blocks and costs."""
