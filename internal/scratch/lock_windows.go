package scratch

import (
	"os"

	"golang.org/x/sys/windows"
)

// lock takes a file until it is closed or the process ends; an error says that another process has it. What it locks is
// far behind the end, so that the content stays free for others.
func lock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1 << 30})
}
