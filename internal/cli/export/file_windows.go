package export

import "os"

// syncDir does nothing: Windows makes a rename durable with the file.
func syncDir(string) error { return nil }

// allocated is the size of the file; Windows does not tell cheaply how much of it is allocated.
func allocated(file string) int64 {
	st, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return st.Size()
}
