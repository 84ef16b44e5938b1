// Package blob stores immutable, named objects. Each kind of store is a sub-package that implements Store and passes
// the conformance suite in blobtest.
package blob

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that a Store returns, wrapped with the object's name.
var (
	// ErrNotFound says that no object of that name exists.
	ErrNotFound = errors.New("object not found")
	// ErrExists says that a conditional creation found an object of that name.
	ErrExists = errors.New("object exists")
	// ErrChanged says that a conditional replacement found another version than it expected.
	ErrChanged = errors.New("object changed")
)

// Info describes an object.
type Info struct {
	Name     string
	Size     int64
	Modified time.Time
}

// A Store keeps objects under slash-separated names of lower-case letters, digits, '.', '_' and '-'.
// An object becomes visible under its name whole and durable, or not at all, whatever is killed.
// Methods may be called from many goroutines and processes at once.
type Store interface {
	// Create stores all of r under a name that must not exist. With an error the object does not exist, unless
	// the error is ErrExists, or the outcome is unknown to a remote store; the caller then compares.
	Create(ctx context.Context, name string, r io.Reader) (Info, error)

	// ReadAt fills p from offset off of an object; it returns io.ErrUnexpectedEOF when the object is shorter.
	ReadAt(ctx context.Context, name string, p []byte, off int64) error

	// Stat describes an object.
	Stat(ctx context.Context, name string) (Info, error)

	// List calls fn for each object whose name starts with prefix, in ascending order of name, until fn returns
	// an error, which List returns.
	List(ctx context.Context, prefix string, fn func(Info) error) error

	// Delete removes an object. Removing one that does not exist is no error.
	Delete(ctx context.Context, name string) error

	// GetTagged reads a small mutable object and the tag of its version.
	GetTagged(ctx context.Context, name string) (data []byte, tag string, err error)

	// PutTagged replaces a small mutable object (at most 64 KiB) if its version still has the tag; the empty tag
	// means that it must not exist. Otherwise it returns ErrChanged. It returns the new tag.
	PutTagged(ctx context.Context, name string, data []byte, tag string) (newTag string, err error)
}
