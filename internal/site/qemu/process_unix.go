//go:build !windows

package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ownSession makes a child outlive the controller: signals to the controller's terminal do not reach it.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// processStart identifies one life of a process ID: its start in clock ticks since the host's boot, with the boot's ID.
// It is empty where the host does not tell (no /proc) or the process is gone or a zombie. A zombie that has threads left
// still holds its files and their locks, and is not gone.
func processStart(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The command name, in parentheses, may hold anything: fields are counted after its end.
	_, rest, ok := bytes.Cut(b[max(bytes.LastIndexByte(b, ')'), 0):], []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 20 || fields[0] == "Z" && fields[17] == "1" || fields[0] == "X" {
		return ""
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return fields[19] + "@" + strings.TrimSpace(string(boot))
}

// processAlive reports whether the process still exists in the life that start names.
func processAlive(pid int, start string) bool {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return syscall.Kill(pid, 0) == nil
	}
	now := processStart(pid)
	return now != "" && now == start
}

// findProcess looks for the QEMU process that was started with the pidfile.
func findProcess(pidfile string) (pid int, start string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	arg := []byte("\x00-pidfile\x00" + pidfile + "\x00")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, arg) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if start := processStart(pid); start != "" {
			return pid, start
		}
	}
	return 0, ""
}

// killGroup ends a process that was started with ownSession, and its children.
func killGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }

func killProcess(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil // it ended meanwhile
}
