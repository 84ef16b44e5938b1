package file

import (
	"context"
	"fmt"

	"golang.org/x/sys/windows"
)

// Free is how many bytes the volume of the store can still hold.
func (s *Store) Free(context.Context) (int64, error) {
	dir, err := windows.UTF16PtrFromString(s.dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(dir, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("look for room at %s: %w", s.dir, err)
	}
	return int64(free), nil
}
