// Package site defines what a place that runs machines can do. Each provider is a sub-package that implements Driver
// and passes the conformance suite in sitetest. Engines import this package, never a provider.
package site

import (
	"context"
	"io"
	"time"

	"understudy/internal/dr"
)

// A Driver runs machines at one site. Its methods may be called from many goroutines at once.
// Machine names are the site's own. All errors say which machine and disk they concern.
type Driver interface {
	// Machines lists the machines of the site with their observed power state, ordered by name.
	Machines(ctx context.Context) ([]dr.Machine, error)

	// Capture freezes one instant of all disks of the machines named, running or stopped, and returns a view of it.
	// The guests go on running. On error nothing is left behind and no change is forgotten.
	Capture(ctx context.Context, req CaptureRequest) (Capture, error)

	// Provision creates a machine that is not running. It is idempotent: a machine that an earlier call with the
	// same request created is left as it is.
	Provision(ctx context.Context, req ProvisionRequest) error

	// Power brings a machine to a power state. It is idempotent.
	Power(ctx context.Context, machine string, action PowerAction) error

	// Hydrate makes every disk of a machine independent of the sources it was provisioned from, while it runs.
	// It reports progress as it goes, returns when no source is needed any more, and goes on where an earlier
	// call stopped.
	Hydrate(ctx context.Context, machine string, progress func(done, total int64)) error

	// Probe waits until the machine satisfies the probe, or ctx ends.
	Probe(ctx context.Context, machine string, probe dr.Probe) error

	// Delete removes a machine that Provision created, with its disks, stopping it first. A machine that does not
	// exist is no error; one that Provision did not create is.
	Delete(ctx context.Context, machine string) error

	// Fence makes a machine unable to start at this site until it is released (hold false), stopping it first.
	// A held machine refuses PowerStart with dr.KindFenced.
	Fence(ctx context.Context, machine string, hold bool, reason string) error
}

// CaptureRequest says what to capture and since when changes are wanted.
type CaptureRequest struct {
	Group    string
	Machines []string

	// ID names this capture; unique, of letters, digits and '-', at most 40 bytes.
	ID string

	// Since is the ID of the committed capture that the caller holds a copy of, or empty when it holds none.
	// Change tracking that does not start exactly at Since is not used.
	Since string

	// Freeze asks for file-system consistency through the guest agent, bounded by FreezeTimeout, and for application
	// consistency where there are Hooks. A capture that cannot have it is made all the same, promises less, and says why
	// (see Shortfaller). No guest stays frozen, whoever dies.
	Freeze        bool
	FreezeTimeout time.Duration

	// Hooks are commands in the guests, by machine, around the freezing.
	Hooks map[string]dr.Hooks
}

// A Shortfaller is a Capture that was asked to freeze and says why it promises less than it was asked for, or nil.
type Shortfaller interface {
	Shortfall() error
}

// A Capture is one instant of all disks of some machines. Exactly one of Commit and Abort ends it. One that fails, or
// never comes because the controller died, leaves the end to the group's next Capture: its Since tells which it was.
type Capture interface {
	// Time is the instant of the capture by the controller's clock.
	Time() time.Time
	// Paused is how long the guests stood still for it.
	Paused() time.Duration
	// Consistency is what the capture can promise.
	Consistency() dr.Consistency
	// Machines describes the machines as they were at the instant, disks in the order of Disks.
	Machines() []dr.Machine
	// Disks are the views, ordered by DiskID.
	Disks() []CapturedDisk

	// Commit says that everything was stored: from now on changes are tracked since this capture's ID.
	Commit(ctx context.Context) error
	// Abort gives the capture up: changes are tracked since the request's Since as if it had never been made.
	Abort(ctx context.Context) error
}

// A Skewed is a Capture whose disks may be of moments that are not the same: as near to one as the provider comes.
type Skewed interface {
	// Skew is how far they are apart, as measured by the provider's clock.
	Skew() time.Duration
}

// A Verifier is a Capture whose view somebody else can spoil. Verify is called after the last read and before the
// commit; an error says that what was read is no single instant.
type Verifier interface {
	Verify() error
}

// A Comparer is a Capture whose site learns from a comparison. Unchanged is called, before Abort, when everything was
// compared and nothing differs from the capture named by Since.
type Comparer interface {
	Unchanged() error
}

// CapturedDisk is the frozen view of one disk. ReadAt may be called from many goroutines at once.
type CapturedDisk interface {
	io.ReaderAt
	ID() dr.DiskID
	Size() int64
	// Changes returns what may differ from the capture named by Since.
	Changes(ctx context.Context) (Changes, error)
}

// Changes are the extents of a disk that may have changed, sorted, not overlapping, merged.
type Changes struct {
	// Extents to look at. When Full is set they cover the whole disk, with Zero on what is known to be zero.
	Extents []dr.Extent
	// Full says that no tracking since the asked capture exists, so that anything may have changed.
	Full bool
	// Reason says why Full is set, for people: "first capture", "bitmap lost (machine restarted)", ...
	Reason string
}

// ProvisionRequest describes a machine to create.
type ProvisionRequest struct {
	Machine dr.Machine // Name is the name to create it under
	// Sources holds, per disk name, an NBD URI to boot from (nbd+unix:///export?socket=path); disks without one are created empty.
	Sources map[string]string
	// Isolation, when not empty, gives the machine a copy of its networks that only machines of the same Isolation name share.
	Isolation string
	// Owner tags what is created, so that a sweeper can find it: the run's ID.
	Owner string
	// Set are attributes of the machine that were asked for by name: they win over the site's settings, and over what the
	// machine had where it was. A site refuses those that it does not know with dr.KindInvalid.
	Set map[string]string
}

// PowerAction is a request to change a machine's power state.
type PowerAction string

// Power actions.
const (
	PowerStart    PowerAction = "start"
	PowerShutdown PowerAction = "shutdown" // ask the guest, then force when ctx ends
	PowerKill     PowerAction = "kill"     // pull the plug
)
