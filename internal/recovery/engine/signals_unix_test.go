//go:build unix

package engine

import (
	"os"
	"syscall"
)

// stopSignals are the signals that stop and wake a process.
func stopSignals() (stop, wake os.Signal) { return syscall.SIGSTOP, syscall.SIGCONT }
