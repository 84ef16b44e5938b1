package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"understudy/internal/dr"
)

// ErrLocked says that an object must not be deleted yet.
var ErrLocked = errors.New("object is locked")

// A LockMode says who may take a lock off before its time.
type LockMode string

// Modes of locks.
const (
	Governance LockMode = "governance" // who has the service's special permission
	Compliance LockMode = "compliance" // nobody
)

// A Lock keeps an object as it is until a time.
type Lock struct {
	Mode  LockMode
	Until time.Time
}

// A Locker is a Store that can keep objects from being deleted, whoever asks.
type Locker interface {
	// CreateLocked is Create of an object that is locked from the beginning.
	CreateLocked(ctx context.Context, name string, r io.Reader, l Lock) (Info, error)

	// Lock locks an object, or makes its lock longer. Making it shorter is an error, or does nothing.
	Lock(ctx context.Context, name string, l Lock) error

	// LockedUntil returns until when an object is locked; a time that is past, or zero, when it is not.
	LockedUntil(ctx context.Context, name string) (time.Time, error)

	// Purge is Delete that leaves nothing behind, such as an older version. An object that is locked is ErrLocked.
	Purge(ctx context.Context, name string) error
}

// AsLocker returns a store's ability to lock.
func AsLocker(s Store) (Locker, error) {
	if l, ok := s.(Locker); ok {
		return l, nil
	}
	return nil, dr.WithHint(fmt.Errorf("this kind of store cannot lock objects"), dr.KindInvalid, "keep such a vault in S3 or in Azure Blob Storage")
}
