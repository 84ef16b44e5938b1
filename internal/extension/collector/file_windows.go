package collector

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// lock takes a file for this process alone, until it is closed or the process ends.
func lock(file string) (io.Closer, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	if err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped)); err != nil {
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			err = errors.New("in use")
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// syncDir has nothing to do: names are durable with their files.
func syncDir(string) error { return nil }
