//go:build !windows

package qemu

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeSpace is what a file system has left for us, in bytes.
func freeSpace(dir string) (int64, bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true //nolint:unconvert // types differ between systems
}

// inode is the number of a file within its file system.
func inode(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino)
	}
	return 0
}
