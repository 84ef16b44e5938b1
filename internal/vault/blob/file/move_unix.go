//go:build unix && !linux

package file

// moveNew renames a file to a name that must be free; it returns fs.ErrExist when it is not, and
// errors.ErrUnsupported when the file system cannot do it in one operation.
func moveNew(from, to string) error { return linkNew(from, to) }
