package site

import (
	"context"
	"io"

	"understudy/internal/dr"
)

// What follows are abilities that not every site has. Engines ask for them with a type assertion on the Driver.

// A Commander runs programs inside machines.
type Commander interface {
	// Command runs a program in a running machine and waits for it. That it exits with another code than 0 is no error.
	Command(ctx context.Context, machine string, c Command) (CommandResult, error)
}

// A Command is a program to run in a machine.
type Command struct {
	Argv  []string
	Env   []string // NAME=value
	Stdin []byte
}

// A CommandResult is what a program left. Output beyond a site's limit is cut, and Truncated says so.
type CommandResult struct {
	ExitCode  int
	Stdout    []byte
	Stderr    []byte
	Truncated bool
}

// A Screenshoter sees what a machine shows.
type Screenshoter interface {
	// Screenshot returns the machine's screen as a PNG. A machine without a screen is dr.KindConflict.
	Screenshot(ctx context.Context, machine string) ([]byte, error)
}

// A ConsoleReader has the text of a machine's serial console.
type ConsoleReader interface {
	// Console returns the last bytes of what the machine wrote, at most limit.
	Console(ctx context.Context, machine string, limit int) ([]byte, error)
}

// A DiskOpener lets disks of machines that are stopped be read and written.
type DiskOpener interface {
	// OpenDisk opens a disk of a stopped machine, also a held one, for one writer or several readers: anything else is
	// dr.KindConflict. While it is open the machine does not start, nor is it deleted (dr.KindConflict).
	// What a dead process held open is closed by the next OpenDisk or PowerStart.
	OpenDisk(ctx context.Context, machine, disk string, write bool) (Disk, error)
}

// A Disk is an open disk. Its methods may be called from many goroutines at once.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() int64
	// Zero makes a range read as zeros, giving its space back where it can.
	Zero(off, n int64) error
	// Flush returns when everything written is on stable storage.
	Flush() error
	// Extents covers the range in order; Zero is set on what is known to read as zeros.
	Extents(ctx context.Context, off, n int64) ([]dr.Extent, error)
}

// A Preserver can keep the content of a stopped machine's disks while they are written over.
type Preserver interface {
	// Preserve keeps the content of the disks of a stopped machine: later writes go to layers over it. It is idempotent,
	// survives starts and stops of the machine, and change tracking may begin anew with it.
	Preserve(ctx context.Context, machine string) error
	// Settle ends that: what was written becomes the disks' content (accept), also while the machine runs, or, for a
	// stopped machine, the disks are as they were. Without Preserve it does nothing. It is idempotent.
	Settle(ctx context.Context, machine string, accept bool) error
}

// A Forgetter ends what it keeps to tell what changed.
type Forgetter interface {
	// Forget ends the change tracking of a group on machines, running or stopped, also what a capture left that nobody
	// ended. One that is under way is dr.KindConflict. A machine that does not exist is no error. It is idempotent.
	Forget(ctx context.Context, group string, machines []string) error
}
