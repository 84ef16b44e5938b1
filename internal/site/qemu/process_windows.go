package qemu

import (
	"os"
	"syscall"
)

// QEMU sites are run by Linux controllers; on Windows no machine is ever found or started.

func ownSession() *syscall.SysProcAttr { return nil }

func processStart(int) string { return "" }

func processAlive(int, string) bool { return false }

func findProcess(string) (pid int, start string) { return 0, "" }

func killGroup(int) error { return os.ErrInvalid }

func killProcess(int) error { return os.ErrInvalid }
