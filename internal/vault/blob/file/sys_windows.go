package file

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// keepsHandles: a file that is open cannot be removed here.
const keepsHandles = false

// syncDir does nothing: NTFS journals names itself, and a folder cannot be flushed by an ordinary user.
func syncDir(string) error { return nil }

// tryLock locks an open file unless somebody else has. The lock ends when the file is closed or the process ends.
func tryLock(f *os.File) (bool, error) {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return false, nil
	}
	return false, err
}

// hasName reports whether an open file still has a name.
func hasName(*os.File) bool { return true }

// moveNew renames a file to a name that must be free; it returns fs.ErrExist when it is not, and
// errors.ErrUnsupported when the file system cannot do it in one operation.
func moveNew(from, to string) error {
	a, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	b, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	// Without MOVEFILE_REPLACE_EXISTING an existing name is an error.
	if err := windows.MoveFileEx(a, b, windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, windows.ERROR_PATH_NOT_FOUND)
}

func isNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

func isReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

func isIO(err error) bool { return errors.Is(err, windows.ERROR_CRC) }
