//go:build unix

package controller

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// lock takes a file for this process alone, until it is closed or the process ends.
func lock(file string) (io.Closer, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("in use")
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// owned checks that a folder in a shared place is this user's alone.
func owned(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !st.IsDir() || st.Mode().Perm()&0o077 != 0 || !ok || int(sys.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a private folder of this user", dir)
	}
	return nil
}
