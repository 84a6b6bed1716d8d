// The headers that every test reads are compiled once, with this file.
