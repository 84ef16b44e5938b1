package e2e

import (
	"fmt"
	"syscall"
)

// mountSmall mounts an empty file system of so many bytes; only root may.
func mountSmall(dir string, size int64) error {
	return syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size))
}

// unmount lets go of a file system when its last file is closed.
func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
