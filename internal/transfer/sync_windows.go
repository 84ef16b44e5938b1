package transfer

// syncDir has nothing to do: there, names are durable with the file.
func syncDir(string) error { return nil }
