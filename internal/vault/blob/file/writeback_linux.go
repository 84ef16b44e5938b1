package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// beginWriteback asks the system to begin to store a range, without waiting. It is advice: the later fsync counts.
func beginWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
