//go:build unix

package file

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Free is how many bytes the file system of the store can still hold.
func (s *Store) Free(context.Context) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, fmt.Errorf("look for room at %s: %w", s.dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
