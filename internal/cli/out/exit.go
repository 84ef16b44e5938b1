package out

import (
	"context"
	"errors"
	"os/exec"

	"understudy/internal/dr"
)

// Exit codes. They are part of the interface: docs/cli.md and `understudy help exit-codes` list them.
const (
	ExitOK          = 0
	ExitError       = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitConflict    = 4
	ExitFenced      = 5
	ExitCorrupt     = 6
	ExitUnavailable = 7
	ExitChecks      = 8
	ExitInterrupted = 130
)

// ErrChecks says that a run or an examination came to its end and found something wrong.
var ErrChecks = errors.New("failed")

// ExitCode returns the exit code for an error.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrChecks):
		return ExitChecks
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	switch dr.KindOf(err) {
	case dr.KindInvalid:
		return ExitUsage
	case dr.KindNotFound:
		return ExitNotFound
	case dr.KindConflict:
		return ExitConflict
	case dr.KindFenced:
		return ExitFenced
	case dr.KindCorrupt:
		return ExitCorrupt
	case dr.KindUnavailable:
		return ExitUnavailable
	}
	if errors.Is(err, exec.ErrNotFound) {
		return ExitUnavailable
	}
	return ExitError
}
