"""The imperative shell: a plan, walked by executors."""
