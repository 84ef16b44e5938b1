package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// moveNew renames a file to a name that must be free; it returns fs.ErrExist when it is not, and
// errors.ErrUnsupported when the file system cannot do it in one operation.
func moveNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP):
		return linkNew(from, to)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}
