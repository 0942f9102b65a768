"""For those who learn: what this machine can do at best, to judge a kernel by. `import fastml` does not load it."""
