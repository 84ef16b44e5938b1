package dr

import "errors"

// Kind classes an error for the API, for exit codes and for what a caller does next.
type Kind string

// Error kinds.
const (
	KindInvalid     Kind = "invalid"         // the request or a file is wrong: mend it
	KindNotFound    Kind = "not-found"       // the thing named does not exist
	KindConflict    Kind = "conflict"        // the state forbids it now
	KindFenced      Kind = "fenced"          // another owner has a newer epoch
	KindCorrupt     Kind = "corrupt"         // stored data fails its checksum
	KindUnavailable Kind = "unavailable"     // something needed is missing or down; may pass
	KindForbidden   Kind = "forbidden"       // the caller may not
	KindApproval    Kind = "approval-wanted" // another person has to approve it first
	KindInternal    Kind = "internal"
)

// Error is an error that a person will read. Hint is the command or setting that helps.
type Error struct {
	Kind Kind
	Hint string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns the hint of the first error in the tree, depth first, that has one.
func Hint(err error) string {
	var e *Error
	for errors.As(err, &e) {
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// KindOf returns the kind of the outermost classified error in the chain, or KindInternal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// WithHint classes err and attaches a hint. It returns nil for a nil err.
func WithHint(err error, kind Kind, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Hint: hint, Err: err}
}
