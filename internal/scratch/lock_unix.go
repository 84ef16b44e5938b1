//go:build unix

package scratch

import (
	"os"
	"syscall"
)

// lock takes a file until it is closed or the process ends; an error says that another process has it.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
