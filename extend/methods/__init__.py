"""One file a method; the file's name is the method's name, and each has run(stage)."""
